"""Calls that have been handed to a device: who waits for them makes a stream wait, not the host."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from dtrain.collectives.communicator.work import Work

Result = TypeVar("Result")


class StreamWork(Work[Result]):
    """A call that has been handed to the device; `wait` makes the caller's stream wait, not the host."""

    def __init__(self, task: Callable[[], Result], stream: Any, current_stream: Callable[[], Any]) -> None:
        """Hand `task` to `stream`, which has to be the current one; what it raises is kept for `wait`."""
        super().__init__(task)
        self._current_stream = current_stream
        self.carry_out()
        self.end = stream.record()

    def is_completed(self) -> bool:
        return bool(self.end.done)

    def wait(self, timeout: float | timedelta | None = None) -> Result:
        self._current_stream().wait_event(self.end)
        return super().wait(timeout)
