"""Objects whose attributes captures rely on: a change is counted, and a read inside a traced function is reported.

Counting makes the check of a capture one comparison as long as nobody has set an attribute anywhere. Reads are seen by
an attribute hook that is in place only while some thread captures, so that it costs nothing otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar

from dtrain.core.context import context

_NUMBERS = count(1)


class Changes:
    """`latest` is another number after every change of an attribute; never one that was there before."""

    __slots__ = ("latest",)

    def __init__(self) -> None:
        self.latest = 0

    def note(self) -> None:
        """Something changed that captures may have read."""
        self.latest = next(_NUMBERS)


changes = Changes()


class Watched:
    """Base of modules and optimizers."""

    # Lists and dicts that the class replaces, but never changes: their contents need no look.
    _replaced: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        changes.note()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changes.note()


def _reported(self: Watched, name: str) -> Any:
    if context.tracer is None:
        return object.__getattribute__(self, name)
    reads = context.tracer.reads
    try:
        value = object.__getattribute__(self, name)
    except AttributeError:
        reads.note_missing(self, name)
        raise
    reads.note_read(self, name, value)
    return value


_lock = threading.Lock()
_num_capturing = 0


@contextmanager
def reporting_reads() -> Iterator[None]:
    """Attribute reads of watched objects inside are reported to the tracer of the thread that reads."""
    global _num_capturing
    with _lock:
        _num_capturing += 1
        if _num_capturing == 1:
            Watched.__getattribute__ = _reported  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        with _lock:
            _num_capturing -= 1
            if _num_capturing == 0:
                del Watched.__getattribute__
