"""Words of torch.distributed made of the calls here: batches of messages, a barrier that names who is missing."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from dtrain.base.errors import CollectiveError, expect_kind, expected
from dtrain.collectives.communicator.contract import Communicator, checked_timeout
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.public import calls
from dtrain.collectives.public.calls import Group, as_group
from dtrain.collectives.world.context import get_communicator
from dtrain.core.tensor import Tensor

_TAG = (1 << 20) - 1  # the last one that messages may have, for `monitored_barrier`
_LEAST_SECONDS = 1e-3  # to take what has come, when the time is over
_ANSWER_SECONDS = 5.0  # that rank 0 may have begun later than those who wait for its answer


def get_backend(group: Group = None) -> str:
    """What a group's tensors on the CPU travel through: mpi_shared, mpi_messages, thread, or self for one rank alone.

    Tensors on a GPU go through NCCL wherever there is one: the place of a tensor decides, not a name.
    """
    return get_communicator(as_group(group)).name


# Messages in batches --------------------------------------------------------------------------------------------------


class P2POp:
    """One `dist.isend` or `dist.irecv` of a batch.

    Args:
        op: `dist.isend` or `dist.irecv`.
        peer: the other rank's number in the world; or
        group_peer: its number in the group.
    """

    def __init__(
        self,
        op: Callable[..., Any],
        tensor: Tensor,
        peer: int | None = None,
        group: Group = None,
        tag: int = 0,
        group_peer: int | None = None,
    ) -> None:
        self.op = getattr(op, "__wrapped__", op)
        if self.op not in (calls.isend, calls.irecv):
            raise ValueError(expected("P2POp", "op dist.isend or dist.irecv", getattr(op, "__name__", repr(op))))
        if not isinstance(tensor, Tensor):
            raise TypeError(expected("P2POp", "a tensor", type(tensor).__name__))
        if (peer is None) == (group_peer is None):
            raise ValueError(expected("P2POp", "one of peer and group_peer", "both" if peer is not None else "neither"))
        self.tensor, self.peer, self.group, self.tag, self.group_peer = tensor, peer, group, tag, group_peer

    def begin(self) -> Work[Any]:
        """Make the call."""
        number = calls.in_group("P2POp", self.group, self.peer, self.group_peer, None)
        side = {"destination": number} if self.op is calls.isend else {"source": number}
        work: Work[Any] = self.op(self.tensor, group=self.group, tag=self.tag, **side)
        return work

    def __repr__(self) -> str:
        peer = self.peer if self.peer is not None else f"{self.group_peer} of the group"
        return f"P2POp({self.op.__name__}, {self.tensor.type}, {peer}, tag={self.tag})"


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work[Any]]:
    """Begin all of them together, in whatever order they stand; one `Work` each, in that order."""
    expect_kind("batch_isend_irecv", p2p_op_list, Iterable, "a list of dist.P2POp")
    batch = list(p2p_op_list)
    if not batch or not all(isinstance(one, P2POp) for one in batch):
        given = "none" if not batch else ", ".join(sorted({type(one).__name__ for one in batch}))
        raise ValueError(expected("batch_isend_irecv", "a list of dist.P2POp", given))
    if len({as_group(one.group) for one in batch}) > 1:
        raise ValueError(expected("batch_isend_irecv", "calls of one group", "several"))
    # Sends first: none waits, and on a communicator where a receive would keep others back, all have been sent by then.
    works: list[Work[Any] | None] = [one.begin() if one.op is calls.isend else None for one in batch]
    return [work or one.begin() for work, one in zip(works, batch)]


# A barrier that names who is missing ----------------------------------------------------------------------------------


def monitored_barrier(group: Group = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """A barrier that waits for `timeout` at most, and then tells every rank that came which ones did not.

    The group stays as it is: those who come later are told too, and further collectives may follow. Nothing else of
    the group may be under way meanwhile.

    Args:
        timeout: seconds, or a timedelta; the group's own by default.
        wait_all_ranks: all missing ranks are named whatever it says.

    Raises:
        CollectiveError: ranks have not come; rank 0 has waited for them, the others for rank 0.
    """
    ranks = get_communicator(as_group(group))
    seconds = ranks.timeout if timeout is None else checked_timeout("monitored_barrier", timeout)
    number = _numbers[ranks] = _numbers.get(ranks, 0) + 1
    missing = _collect(ranks, number, seconds) if ranks.rank == 0 else _report(ranks, number, seconds)
    if missing:
        text = f"every rank of group {ranks.group!r} within {seconds:g} s"
        raise CollectiveError(expected("monitored_barrier", text, f"nothing from {_named(ranks, missing)}"))


# How many a rank has called. Their messages carry it: one from a barrier that others have given up is told apart.
_numbers: weakref.WeakKeyDictionary[Communicator, int] = weakref.WeakKeyDictionary()


def _collect(ranks: Communicator, number: int, seconds: float) -> list[int]:
    """Rank 0: wait for a message of every other rank, then send all of them who is missing."""
    deadline = time.monotonic() + seconds
    missing = [other for other in range(1, ranks.size) if _message(ranks, other, number, deadline) is None]
    verdict = np.zeros(1 + ranks.size, np.int64)
    verdict[0] = number
    verdict[[1 + rank for rank in missing]] = 1
    for other in range(1, ranks.size):
        with suppress(CollectiveError):  # that rank is gone
            ranks.send(verdict, destination=other, tag=_TAG)
    return missing


def _report(ranks: Communicator, number: int, seconds: float) -> list[int]:
    """The other ranks: tell rank 0, and wait for what it says."""
    with suppress(CollectiveError):
        ranks.send(np.array([number], np.int64), destination=0, tag=_TAG)
    verdict = _message(ranks, 0, number, time.monotonic() + seconds + _ANSWER_SECONDS)
    return [0] if verdict is None else [int(rank) for rank in np.flatnonzero(verdict[1:])]


def _message(ranks: Communicator, source: int, number: int, deadline: float) -> np.ndarray | None:
    """The message of a rank about the barrier of this number; None if it has not come in time, or cannot."""
    before = ranks.timeout
    try:
        while True:
            ranks.timeout = max(deadline - time.monotonic(), _LEAST_SECONDS)
            message: np.ndarray = ranks.recv(source=source, tag=_TAG, dtype="s64")
            if message[0] == number:
                return message
    except CollectiveError:
        return None
    finally:
        ranks.timeout = before


def _named(ranks: Communicator, missing: Sequence[int]) -> str:
    numbers = ", ".join(str(ranks.world_ranks[rank]) for rank in missing)
    return f"rank{'s' if len(missing) > 1 else ''} {numbers}"
