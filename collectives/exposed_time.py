"""How long this thread has stood still for communication: the exposed part of a step.

A collective that overlaps with computation adds only the time spent waiting for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from dtrain.collectives.communicator.work import Work


class _Clock(threading.local):
    seconds = 0.0


_clock = _Clock()


@contextmanager
def measure() -> Iterator[None]:
    """Add the time inside to this thread's exposed communication."""
    begin = perf_counter()
    try:
        yield
    finally:
        _clock.seconds += perf_counter() - begin


def seconds() -> float:
    """Seconds of exposed communication in this thread so far; subtract two readings."""
    return _clock.seconds


class Waiting:
    """A work, the wait for which is exposed communication."""

    __slots__ = ("_work",)

    def __init__(self, work: Work[Any]) -> None:
        self._work = work

    def wait(self) -> None:
        """Return once it has ended; raise what it raised."""
        with measure():
            self._work.wait()
