"""Memory that the processes of one host share: each makes one part, and all of them map all parts.

A part is a file without a name in the host's shared memory, opened by the others through its owner's /proc entry: it
is gone when the last process that maps it is, however that ends. Its bytes are reserved when it is made, so that too
little memory is an error then and not a crash when the memory is touched.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

import numpy as np

from dtrain.collectives.memory.shared_window import Exchange, NoMemory
from dtrain.collectives.programs.rank_order import Array

_FOLDER = "/dev/shm"


def make_shared_parts(nbytes: int | None, members: Sequence[int], exchange: Exchange) -> list[Array]:
    """One part of `nbytes` zeros for each member; the same list on each (collective).

    Args:
        nbytes: the same on all members; None on a rank that only takes part in the exchange.
        members: who shares, as places in what `exchange` returns.
        exchange: gives every rank's text to every rank. It may reach more ranks than share memory: trouble of anybody
            is everybody's.

    Raises:
        NoMemory: on every rank, if one could not make its part or map another's.
    """
    descriptor, offer = -1, ""
    try:
        if nbytes is not None:
            descriptor, offer = _make(nbytes)
        offers = exchange(offer)
        check_offers(offers)
        parts, trouble = _map(nbytes, [offers[member] for member in members])
        check_offers(exchange(trouble))
        return parts
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _make(nbytes: int) -> tuple[int, str]:
    """A descriptor and what others need to open it; or −1 and what is wrong."""
    descriptor = -1
    try:
        descriptor = os.open(_FOLDER, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.posix_fallocate(descriptor, 0, max(nbytes, 1))
    except (OSError, OverflowError) as error:
        if descriptor >= 0:
            os.close(descriptor)
        return -1, f"!{getattr(error, 'strerror', None) or error}"
    return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"


def _map(nbytes: int | None, paths: Sequence[str]) -> tuple[list[Array], str]:
    parts: list[Array] = []
    if nbytes is None:
        return parts, ""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDWR)
            try:
                memory = mmap.mmap(descriptor, max(nbytes, 1))
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            return [], f"!{error}"
        parts.append(np.frombuffer(memory, np.uint8)[:nbytes])
    return parts, ""


def check_offers(answers: Sequence[str]) -> None:
    """Raise `NoMemory` for the first answer that begins with "!", which says what went wrong."""
    for rank, answer in enumerate(answers):
        if answer.startswith("!"):
            raise NoMemory(rank, answer[1:])
