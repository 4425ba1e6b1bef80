"""Signals to the launcher: noted by a handler that does nothing else, taken by the job's loop before all events."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2)


class SignalWhileStarting(BaseException):
    """Raised by the handler inside of `raised()`."""


class JobSignals:
    """`pending` signals in their order: INT, TERM and HUP end the job, USR1 and USR2 go to the ranks."""

    def __init__(self) -> None:
        self.pending: deque[int] = deque()
        self._is_raising = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take over the process's handlers inside of a `with` block."""
        before = self._take_over()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Inside, a signal that ends the job is also raised: what is called (joining a cluster) may take long."""
        self._is_raising = True
        try:
            yield
        finally:
            self._is_raising = False
            self._take_over()  # Ray puts a handler of its own in place of ours

    @property
    def ending(self) -> list[int]:
        """Pending signals that end the job."""
        return [number for number in self.pending if number in ENDING]

    def _take_over(self) -> dict[int, Any]:
        return {number: signal.signal(number, self._note) for number in (*ENDING, *FORWARDED)}

    def _note(self, number: int, _: object) -> None:
        self.pending.append(number)
        if self._is_raising and number in ENDING:
            raise SignalWhileStarting
