"""Calls of one communicator: numbered when they are made, carried out in that order, and none after one that broke off.

Ranks are paired by how many calls each has begun. Two things could set them apart, and neither may end in a wrong
result:

    a call ends by an exception before it begins     it was numbered, so that this rank's later calls show that one is
    (a bad argument, an interrupt)                    missing: a mismatch on every rank unless all ranks missed as many
    a call ends by an exception after it has begun   the communicator is broken: its ranks learn of it and raise from
    (time, a signal handler, memory, a lost rank)     then on

What all ranks raise alike at their first meeting (a mismatch) breaks nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import ClassVar, TypeVar

from dtrain.base.errors import CollectiveError, CollectiveMismatchError, PeerLostError, expected
from dtrain.base.exception_text import exception_message, exception_name
from dtrain.base.rank_info import rank_tag
from dtrain.collectives.communicator.call_text import frame_of
from dtrain.collectives.communicator.data_plane import DataPlane
from dtrain.collectives.communicator.work import Work, WorkQueue
from dtrain.collectives.memory.shared_window import State

Result = TypeVar("Result")
Prepare = Callable[[], Callable[[], Result]]

_KINDS = (PeerLostError, CollectiveMismatchError, CollectiveError)
GIVES_WAY_SECONDS = 2e-3  # at a time
_MAX_REMARK = 120  # characters of an exception's message: frames have little room

_generation = 0  # how many forks lie between this process and the first


def _count_fork() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_count_fork)


class OrderedCalls(DataPlane):
    """The order of a communicator's calls, and whether it still holds on all ranks."""

    is_for_one_process: ClassVar[bool] = True  # a fork has to leave it alone: others wait for its first owner

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self._collectives = WorkQueue("collectives")
        self._generation = _generation
        self._numbers = itertools.count()
        self.calls_made = 0  # collectives of this rank, carried out or not
        self._begun = 0
        self._skipped = 0
        self._remark = ""
        self._is_underway = False
        self._broken: CollectiveError | None = None
        self._lanes: dict[str, OrderedCalls] = {}

    @property
    def is_broken(self) -> bool:
        """Whether a call is known to have ended half-way, here or on a peer, so that every later one raises."""
        return self._broken is not None

    def break_off(self, state: State, text: str) -> None:
        """Let no call follow, because one of a communicator on top of this one ended half-way; see `_tell_broken`."""
        if self._broken is None:
            self._broken = CollectiveError(f"a communicator on top of group {self.group!r} {text}")
            self._tell_broken(state, text)

    def _now(self, prepare: Prepare[Result]) -> Result:
        """Make a call and carry it out; `prepare` checks arguments and returns what is left to do."""
        self._check_process()
        number = self._next_number()
        call = prepare()
        handled = sys.exc_info()[1]  # in a `finally`, or an `except`: what brought this rank here
        remark = "" if handled is None else _while_handling(handled)
        try:
            return self._collectives.run(lambda: self._carry_out(number, call, remark))
        except CollectiveError as error:
            cause = error.__cause__ or (None if handled is error else handled)
            raise error.with_traceback(None) from cause  # where we noticed it tells nobody anything

    def _later(self, prepare: Prepare[Result]) -> Work[Result]:
        """Make a call that the communication thread carries out."""
        self._check_process()
        number = self._next_number()
        call = prepare()
        return self._collectives.submit(lambda: self._carry_out_behind_lanes(number, call))

    def _carry_out_behind_lanes(self, number: int, call: Callable[[], Result]) -> Result:
        self._give_way()
        return self._carry_out(number, call)

    def _give_way(self) -> None:
        """Let calls of lanes that are under way here end first.

        Not for long: they may be waiting for a rank that waits for a call of this communicator before it joins them.
        """
        end = time.monotonic() + GIVES_WAY_SECONDS
        while any(lane._is_underway for lane in self._lanes.values()) and time.monotonic() < end:
            time.sleep(GIVES_WAY_SECONDS / 40)

    @property
    def is_inherited(self) -> bool:
        """Whether this is a copy that came by a fork, of a communicator that the parent goes on using."""
        return self.is_for_one_process and self._generation != _generation

    def _check_process(self) -> None:
        if self.is_inherited:
            given = "a fork of it, which others would take for the rank itself"
            advice = "talk in the rank's own process, and give the child what it needs"
            raise CollectiveError(expected(f"group {self.group!r}", "the process that joined it", given, advice))

    def _next_number(self) -> int:
        number = next(self._numbers)  # in one step, whichever threads make calls
        self.calls_made = number + 1
        return number

    def miss_a_call(self) -> None:
        """Count a call that ended by an exception before it was made, which the other ranks may well have made."""
        self._next_number()

    def _carry_out(self, number: int, call: Callable[[], Result], remark: str = "") -> Result:
        self._check_whole()
        self._remark = remark
        # Cleared at the end only: nothing has to run in between for an interrupted call to be seen by the next one.
        self._is_underway = True
        self._call_text = ""
        self._skipped = number - self._begun
        self._begun += 1
        try:
            result = call()
        except BaseException as error:
            if self._is_underway:
                self._break(error)
            raise
        self._is_underway = False
        return result

    def _check_whole(self) -> None:
        if self._broken is None and self._is_underway:
            self._break(CollectiveError("an exception ended it"))
        if self._broken is not None:
            # The cause first: this may be the call of several under way that somebody waits for before all others.
            cause = str(self._broken).removeprefix(rank_tag())
            raise type(self._broken)(
                f"{cause}; group {self.group!r} is broken since a call ended half-way: ranks no longer stand at the "
                "same call, end the job"
            )

    def _break(self, error: BaseException) -> None:
        """No call of this communicator may follow: note why, and tell the others."""
        if self._broken is not None:
            return
        # Whoever raised it, a signal handler of the user's perhaps, must not keep the others from hearing of it.
        cause = exception_message(error).removeprefix(rank_tag()).partition("\n")[0]
        name, call = exception_name(error), self._call_text or "a call"
        self._is_underway = False
        if isinstance(error, CollectiveError):
            # One of ours: a subclass of the user's may want other arguments.
            self._broken = next(kind for kind in _KINDS if isinstance(error, kind))(cause)
        else:
            self._broken = CollectiveError(f"{call}: {name}{f': {cause}' if cause else ''}")
        if isinstance(error, PeerLostError) and error.cause:
            self._tell_broken(State.FOLLOWED, error.cause)
        else:
            self._tell_broken(State.BROKEN, f"left {call} by {name}{f': {cause}' if cause else ''}")

    def _tell_broken(self, state: State, text: str) -> None:
        """Let the other ranks know, without waiting for them, that no call of this one will follow."""

    def _agreed(self, error: CollectiveError) -> CollectiveError:
        """An error that every rank raises at the same point, so that the order of calls holds."""
        self._is_underway = False
        return error

    def _shown_frame(self, call_text: str) -> bytes:
        """What a call shows the other ranks, with what it does not have to agree on."""
        return frame_of(self._shown(call_text), self._remark)

    def _shown(self, call_text: str) -> str:
        """What calls of all ranks must have alike: the text, and how many calls of this rank are missing before it."""
        if self._skipped:
            calls = "1 call" if self._skipped == 1 else f"{self._skipped} calls"
            call_text = f"{call_text} (after {calls} of this rank that ended before the others could see it)"
        self._call_text = call_text
        return call_text


def _while_handling(error: BaseException) -> str:
    """A remark beside a call that was made for an exception: other ranks, which have none, may be somewhere else."""
    message = exception_message(error).partition("\n")[0][:_MAX_REMARK]
    return f" (while handling {exception_name(error)}{': ' if message else ''}{message})"
