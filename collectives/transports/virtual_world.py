"""What ranks on a virtual clock share: their times, their network, and the board where they lay their calls.

Made by `run_virtual`; see `virtual_communicator`.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import numpy as np

from dtrain.collectives.communicator.work import Work, no_end_yet
from dtrain.collectives.programs.buffers import Buffers
from dtrain.collectives.programs.network import Network
from dtrain.collectives.programs.program import Copy, Program, Reduce, Slice
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.programs.timeline import Span, Timeline
from dtrain.collectives.transports.thread_communicator import ThreadWorld

Result = TypeVar("Result")

NEVER = float("inf")
# Real seconds that a rank waits at least, however little its clock allows: others may only be slow.
PATIENCE_SECONDS = 10.0
# And with a time of its own, after which the script does something that others may be waiting for.
TIMED_SECONDS = 1.0


class Killed(BaseException):
    """The end of a rank that is killed on its clock: nothing of it runs on, and it tells nobody."""


@dataclass
class RankClock:
    """One rank's time, in all of its groups."""

    now: float = 0.0
    death: float = NEVER

    def put_forward(self, time: float) -> None:
        self.now = max(self.now, time)


@dataclass
class Part:
    """What one rank does for a call."""

    program: Program
    buffers: Buffers
    begin: float


@dataclass
class Board:
    """Where the ranks of a group lay what they want to do, and what became of it.

    Attributes:
        told: when each rank told the others that no call of it will follow; never, where it was killed.
        left: when each rank told them that no message will follow.
    """

    parts: dict[int, Part] = field(default_factory=dict)
    outcome: Timeline = field(default_factory=Timeline)
    told: dict[int, float] = field(default_factory=dict)
    left: dict[int, float] = field(default_factory=dict)


@dataclass
class Universe:
    """What all groups of one run share.

    Attributes:
        network: of all ranks.
        clocks: one per rank.
        messages: when each message on its way arrives, by group, source, destination and tag.
        boards: one per group.
        spans: what each collective was made of, in the order in which collectives ended.
    """

    network: Network
    clocks: list[RankClock]
    messages: dict[tuple[str, int, int, int], deque[float]] = field(default_factory=lambda: defaultdict(deque))
    boards: defaultdict[ThreadWorld, Board] = field(default_factory=lambda: defaultdict(Board))
    spans: list[Span] = field(default_factory=list)


class Everyone:
    """Carries out steps on the arrays that all ranks have laid there."""

    def __init__(self, buffers: Mapping[int, Buffers]) -> None:
        self._buffers = buffers
        for own in buffers.values():
            own.share(buffers)

    def copy(self, rank: int, step: Copy) -> None:
        self._buffers[rank].copy(step)

    def reduce(self, rank: int, step: Reduce) -> None:
        self._buffers[rank].reduce(step)

    def take(self, rank: int, data: Slice) -> Array:
        return np.array(self._buffers[rank].read(data))

    def give(self, rank: int, data: Slice, content: Array) -> None:
        self._buffers[rank].write(data, content)


@dataclass
class CallTime:
    """When a call that goes on beside its rank began, and when it has ended."""

    begin: float
    end: float = 0.0


class CallTimes(threading.local):
    """Calls about messages by thread: the last that was made in it, and the one that it carries out."""

    def __init__(self) -> None:
        self.made = self.carried_out = CallTime(0.0)


class VirtualWork(Work[Result]):
    """A call under way on the virtual clock; who waits for it has its own clock put forward."""

    def __init__(self, work: Work[Result], clock: RankClock, time: CallTime) -> None:
        super().__init__(work.wait)
        self._work = work
        self._clock = clock
        self._time = time

    @property
    def unseen_exception(self) -> BaseException | None:
        return self._work.unseen_exception

    def is_completed(self) -> bool:
        """Whether it has really ended: a clock that stands still while a script asks would never say so."""
        return self._work.is_completed()

    def wait(self, timeout: float | timedelta | None = None) -> Result:
        if timeout is not None:
            seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
            end = self._clock.now + seconds
            if not self._work.join(max(seconds, TIMED_SECONDS)) or self._time.end > end:
                self._clock.put_forward(end)
                raise no_end_yet(seconds)
        try:
            return self._work.wait()
        finally:
            self._clock.put_forward(self._time.end)
