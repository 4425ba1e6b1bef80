"""Asynchronous collectives: `Work`, the handle of one call, and `WorkQueue`, the thread that carries calls out.

One queue owns the data plane of one communicator. Calls are carried out in the order in which they were made,
whether the caller waits for them or not.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from dtrain.base.errors import CollectiveError, expected

Result = TypeVar("Result")

MAX_FAILED = 16  # calls that failed unseen and are kept: the first one is what `close` raises


class ClosedError(CollectiveError):
    """A `recv` was still waiting when its communicator was closed. Not an error of anybody who does not ask for it."""


class Work(Generic[Result]):
    """One collective under way.

    >>> work = communicator.all_reduce_async(gradient)   # doctest: +SKIP
    >>> total = work.wait()                              # doctest: +SKIP
    """

    def __init__(self, task: Callable[[], Result]) -> None:
        self._task: Callable[[], Result] | None = task
        self._completed = threading.Event()
        self._result: Result | None = None
        self._exception: BaseException | None = None
        self._was_seen = False

    @property
    def unseen_exception(self) -> BaseException | None:
        """What the call raised, if nobody has waited for it and somebody should know."""
        return None if self._was_seen or isinstance(self._exception, ClosedError) else self._exception

    def is_completed(self) -> bool:
        """Whether the call has ended, well or badly."""
        return self._completed.is_set()

    def wait(self, timeout: float | timedelta | None = None) -> Result:
        """Return the result once the call has ended.

        Args:
            timeout: seconds to wait at most, or a timedelta; None waits as long as the communicator does.

        Raises:
            TimeoutError: the call has not ended within `timeout` seconds; it stays under way.
            Exception: whatever the call raised.
        """
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        if not self._completed.wait(timeout):
            raise no_end_yet(timeout)
        if self._exception is not None:
            self._was_seen = True
            if isinstance(self._exception, CollectiveError):
                raise self._exception.with_traceback(None) from self._exception.__cause__
            raise self._exception
        return cast(Result, self._result)

    def carry_out(self) -> None:
        """Run the call in this thread; what it raises is kept for `wait`."""
        task, self._task = self._task, None
        assert task is not None, "a Work is carried out once"
        try:
            self._result = task()
        except BaseException as exception:
            self._exception = exception
        self._completed.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end without looking at the result; returns whether it came within `timeout` seconds."""
        return self._completed.wait(timeout)


def no_end_yet(timeout: float | None) -> TimeoutError:
    """The error of a `wait` with a time of its own."""
    return TimeoutError(expected("Work.wait", f"the collective to end within {timeout} s", "no end yet"))


class WorkQueue:
    """Carries out calls in order: in the caller's thread where the caller waits, in an own thread otherwise."""

    def __init__(self, name: str, *, keeps_thread: bool = True) -> None:
        """Without `keeps_thread` the thread ends when nothing is left to do, and the next call starts another."""
        self.name = name
        self._keeps_thread = keeps_thread
        self._pending: deque[Work[object]] = deque()
        self._lock, self._turn = threading.RLock(), threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._current: Work[object] | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._failed: list[Work[object]] = []

    def run(self, task: Callable[[], Result]) -> Result:
        """Carry `task` out here and now, after everything submitted before it."""
        self._let_go()
        with self._changed:
            last = self._pending[-1] if self._pending else self._current
        if last is not None and not last.is_completed():
            self._wake()  # an exception may have come between a call and its thread
            last.join()
        with self._turn:
            self._check_open()
            return task()

    def submit(self, task: Callable[[], Result]) -> Work[Result]:
        """Hand `task` to the communication thread, which starts with the first one."""
        self._let_go()
        work = Work(task)
        with self._changed:
            self._check_open()
            self._pending.append(cast("Work[object]", work))
        self._wake()
        return work

    def _let_go(self) -> None:
        """Give back what an exception between the end of a block and its lock has left with this thread."""
        for lock in (self._lock, self._turn):
            while lock._is_owned():  # type: ignore[attr-defined]
                lock.release()

    def _wake(self) -> None:
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, timeout: float) -> None:
        """Let what has been submitted come to its end, for `timeout` seconds at most; never waits in its own thread."""
        with self._changed:
            last = self._pending[-1] if self._pending else self._current
        if last is not None and threading.current_thread() is not self._thread:
            last.join(timeout)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and nothing has failed unseen."""
        with self._changed:
            is_busy = bool(self._pending) or self._thread is not None
        return not is_busy and not any(work.unseen_exception is not None for work in self._failed)

    def close(self) -> None:
        """Carry out what is pending, then end the thread. Closing twice is harmless.

        Raises:
            Exception: of the first call that failed and that nobody has waited for; otherwise it would never be seen.
        """
        self._let_go()
        self._is_closed = True
        if self._pending or self._thread is not None:
            self._wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        failed, self._failed = self._failed, []
        for work in failed:
            if work.unseen_exception is not None:
                work.wait()

    def note_failure(self, work: Work[Any]) -> None:
        """Keep a call that has failed until somebody has waited for it, or until `close` raises for it."""
        if work.unseen_exception is not None:
            self._failed = [other for other in self._failed if other.unseen_exception is not None][:MAX_FAILED]
            self._failed.append(work)

    def _check_open(self) -> None:
        if self._is_closed:
            raise CollectiveError(
                expected(self.name, "an open communicator", "one that was closed", "call collectives.init() again")
            )

    def _serve(self) -> None:
        while self._thread is threading.current_thread():
            with self._changed:
                while not self._pending and not self._is_closed and self._keeps_thread:
                    self._changed.wait()
                if not self._pending:
                    self._thread = None
                    return
                self._current = work = self._pending.popleft()
            with self._turn:
                work.carry_out()
            self.note_failure(work)
            self._current = None
            del work  # a handle kept here would keep the arrays of the last call alive
