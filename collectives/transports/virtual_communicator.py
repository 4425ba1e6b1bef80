"""Ranks on a virtual clock: the programs of shared memory and of messages in a world that is simulated.

Ranks are threads, and arrays really move, so results are those of any other transport, bit for bit. Time is made up:
each rank has a clock of its own, which collectives set to when they would have ended on the given network, and which
`compute` puts forward. The same program gives the same times whatever the machine does meanwhile. Ranks that come
later than `timeout` on this clock, or that are killed at a time, end in the errors that real ones end in.

def program(communicator):
    communicator.compute(2e-3)                        # seconds
    communicator.all_reduce(np.ones(1 << 20))
    return communicator.now

run_virtual(program, Network.of_shape(4, 4))          # two hosts with four ranks each
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np

from dtrain.base.errors import CollectiveError, expected
from dtrain.collectives.communicator.absence import late_error
from dtrain.collectives.communicator.ordered_calls import Prepare
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.memory.packed import Packed
from dtrain.collectives.memory.shared_window import Absence, State
from dtrain.collectives.programs import exchanges
from dtrain.collectives.programs.buffers import Buffers
from dtrain.collectives.programs.network import Network
from dtrain.collectives.programs.program import Copy, Program, Reduce, Slice
from dtrain.collectives.programs.rank_order import Array, ReduceOp
from dtrain.collectives.programs.timeline import Span, Timeline, timeline
from dtrain.collectives.programs.weighing import Weighted
from dtrain.collectives.transports.thread_communicator import (
    THREAD_STAGING_BYTES,
    ThreadCommunicator,
    ThreadWorld,
    run_ranks_as_threads,
)

Result = TypeVar("Result")

_KILLED = "was killed on the virtual clock"
_NEVER = float("inf")


class Killed(BaseException):
    """The end of a rank that is killed on its clock: nothing of it runs on, and it tells nobody."""


@dataclass
class _RankClock:
    """One rank's time, in all of its groups."""

    now: float = 0.0
    death: float = _NEVER


@dataclass
class _Universe:
    """What all groups of one run share.

    Attributes:
        network: of all ranks.
        clocks: one per rank.
        messages: when each message on its way arrives, by group, source, destination and tag.
        spans: what each collective was made of, in the order in which collectives ended.
    """

    network: Network
    clocks: list[_RankClock]
    messages: dict[tuple[str, int, int, int], deque[float]] = field(default_factory=lambda: defaultdict(deque))
    boards: dict[ThreadWorld, _Board] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)


@dataclass
class _Part:
    program: Program
    buffers: Buffers
    begin: float


@dataclass
class _Board:
    """Where the ranks of a group lay what they want to do, and what became of it."""

    parts: dict[int, _Part] = field(default_factory=dict)
    outcome: Timeline = field(default_factory=Timeline)


class _Everyone:
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


class VirtualWork(Work[Result]):
    """A call under way on the virtual clock; who waits for it has its own clock put forward."""

    def __init__(self, work: Work[Result], clock: _RankClock, ended: Callable[[], float]) -> None:
        super().__init__(lambda: work.wait())
        self._work = work
        self._clock = clock
        self._ended = ended

    @property
    def unseen_exception(self) -> BaseException | None:
        return self._work.unseen_exception

    def is_completed(self) -> bool:
        return self._work.is_completed()

    def wait(self, timeout: float | timedelta | None = None) -> Result:
        result = self._work.wait(timeout)
        self._clock.now = max(self._clock.now, self._ended())
        return result


class VirtualCommunicator(ThreadCommunicator):
    """One rank of a group on a virtual clock; made by `run_virtual`."""

    name = "virtual"

    def __init__(
        self,
        universe: _Universe,
        world: ThreadWorld,
        rank: int,
        world_ranks: Sequence[int] | None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(world, rank, world_ranks, timeout)
        self._universe = universe
        self._clock = universe.clocks[self.world_ranks[rank]]
        self._network = universe.network.part(self.world_ranks)
        self._shares_memory = len(set(self._network.hosts)) == 1
        self._busy_until = 0.0
        self._made_at: float | None = None  # of an asynchronous call, made earlier than it is carried out

    @property
    def now(self) -> float:
        """This rank's time in seconds."""
        return self._clock.now

    @property
    def spans(self) -> list[Span]:
        """Every step of every rank in the collectives that have ended so far, in virtual seconds."""
        return self._universe.spans

    def compute(self, seconds: float) -> None:
        """Let this rank's time go on. Raises `ValueError` unless `seconds` is finite and at least 0."""
        if not 0 <= seconds < _NEVER:
            raise ValueError(expected("compute", "a finite time of at least 0 s", f"{seconds} s"))
        self._clock.now += seconds
        self._check_alive()

    def algorithm(self, kind: str, nbytes: int) -> str:
        return self._program(kind.removesuffix("_many"), nbytes).name

    # Collectives

    def _all_reduce(self, call_text: str, sources: list[Array], outs: list[Array], op: ReduceOp | Weighted) -> None:
        self._simulate("all_reduce", call_text, Packed(sources), Packed(outs), sources[0].dtype, op)

    def _reduce_scatter(self, call_text: str, source: Array, out: Array, op: ReduceOp) -> None:
        self._simulate("reduce_scatter", call_text, Packed([source]), Packed([out]), out.dtype, op)

    def _all_gather(self, call_text: str, source: Array, out: Array) -> None:
        self._simulate("all_gather", call_text, Packed([source]), Packed([out]), source.dtype, "sum")

    def _broadcast(self, call_text: str, source: Array, out: Array, root: int) -> None:
        self._simulate("broadcast", call_text, Packed([source]), Packed([out]), source.dtype, "sum", root)

    def _all_to_all(self, call_text: str, source: Array, out: Array) -> None:
        self._simulate("all_to_all", call_text, Packed([source]), Packed([out]), source.dtype, "sum")

    def _barrier(self, call_text: str) -> None:
        nothing = Packed([np.empty(0, np.uint8)])
        self._simulate("barrier", call_text, nothing, nothing, np.dtype(np.uint8), "sum")

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        """What ranks of such hosts do: they share memory if all are on one host, and send messages otherwise."""
        if self._shares_memory:
            return super()._program(kind, nbytes, root)
        return exchanges.program_of(kind, self.rank, self.size, nbytes, root=root, chunk_bytes=self._staging_bytes)

    def _simulate(
        self, kind: str, call_text: str, source: Packed, out: Packed, dtype: Any, op: ReduceOp | Weighted, root: int = 0
    ) -> None:
        self._check_alive()
        program = self._program(kind, source.nbytes, root)
        board = self._universe.boards.setdefault(self._world, _Board())
        begin, self._made_at = self._clock.now if self._made_at is None else self._made_at, None
        board.parts[self.rank] = _Part(program, Buffers(program, source, out, dtype), max(begin, self._busy_until))
        self._show_weight(op)
        self._begin_collective(call_text)
        parts = [board.parts[rank] for rank in range(self.size)]
        self._check_in_time([other.begin for other in parts])
        if self.rank == 0:
            reduction = self._settled(op) if isinstance(op, Weighted) else op
            for other in parts:
                other.buffers.op = reduction
            board.outcome = self._run(parts)
        self._meet()
        self._end(board.outcome)

    def _run(self, parts: Sequence[_Part]) -> Timeline:
        """One rank carries out the steps of all: they are few, and the arrays are in one process."""
        everyone = _Everyone({rank: other.buffers for rank, other in enumerate(parts)})
        deaths = {rank: self._universe.clocks[member].death for rank, member in enumerate(self.world_ranks)}
        programs, begins = [other.program for other in parts], [other.begin for other in parts]
        outcome = timeline(programs, self._network, begins, deaths=deaths, carrier=everyone)
        members = self.world_ranks
        self._universe.spans += [span._replace(rank=members[span.rank]) for span in outcome.spans]
        return outcome

    def _end(self, outcome: Timeline) -> None:
        if self.rank in outcome.dead:
            self._clock.now = self._clock.death
            self._check_alive()
        if self.rank in outcome.ends:
            self._busy_until = outcome.ends[self.rank]
            return
        self._give_up(outcome.since[self.rank], outcome.missing[self.rank])

    def _check_in_time(self, begins: Sequence[float]) -> None:
        """As on a real clock: who has waited long enough gives up, and who comes then learns of it."""
        last = max(begins)
        early = [rank for rank, begin in enumerate(begins) if begin + self.timeout < last]
        if self.rank in early:
            late = [rank for rank, begin in enumerate(begins) if begin > begins[self.rank] + self.timeout]
            self._give_up(begins[self.rank], late)
        if early:
            self._meet()

    def _give_up(self, since: float, late: Sequence[int]) -> None:
        self._clock.now = max(self._clock.now, since + self.timeout)
        raise self._late_error(late)

    def _late_error(self, late: Sequence[int]) -> CollectiveError:
        """What a real rank can know: flags in shared memory tell who is late, messages that do not come do not."""
        if self._shares_memory:
            return super()._absence_error(Absence(list(late), {}))
        return late_error(self._here(), [], {}, self.timeout, self._names)

    # Order and time

    def _now(self, prepare: Prepare[Result]) -> Result:
        result = super()._now(prepare)
        self._clock.now = max(self._clock.now, self._busy_until)
        return result

    def _later(self, prepare: Prepare[Result]) -> Work[Result]:
        made, ended = self._clock.now, [0.0]

        def prepared() -> Callable[[], Result]:
            call = prepare()

            def task() -> Result:
                self._made_at = made
                result = call()
                ended[0] = self._busy_until
                return result

            return task

        return VirtualWork(super()._later(prepared), self._clock, lambda: ended[0])

    # Ranks that are killed

    def _check_alive(self) -> None:
        if self._clock.now >= self._clock.death:
            for group in list(self.family):
                if isinstance(group, VirtualCommunicator):
                    group._window.leave(State.LEFT, _KILLED)
            raise Killed

    def _absence_error(self, absence: Absence) -> CollectiveError:
        killed = [rank for rank, (_, text) in absence.gone.items() if text == _KILLED]
        # Who has given up because of a killed rank has waited as long as this one: which of them is first is chance.
        others = [state for state, text in absence.gone.values() if text != _KILLED and state is not State.BROKEN]
        if not killed or others:
            return super()._absence_error(absence)
        self._clock.now += self.timeout  # nobody says anything, so all wait as long as they may
        return self._late_error(killed)

    def _no_message(self, source: int, tag: int, gone: str = "") -> CollectiveError:
        if gone == _KILLED:
            self._clock.now, gone = self._clock.now + self.timeout, ""
        return super()._no_message(source, tag, gone)

    # Messages and groups

    def _send(self, array: Array, destination: int, tag: int) -> None:
        self._check_alive()
        line = self._network.link(self.rank, destination)
        arrival = self._clock.now + line.predict(array.nbytes) + self._network.delay(self.rank)
        with self._world.changed:
            self._universe.messages[self.group, self.rank, destination, tag].append(arrival)
        super()._send(array, destination, tag)

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: Any) -> Array:
        self._check_alive()
        array = super()._recv(source, tag, shape, dtype)
        with self._world.changed:
            arrival = self._universe.messages[self.group, source, self.rank, tag].popleft()
        self._clock.now = max(self._clock.now, arrival)
        return array

    def _child(self, world: ThreadWorld, rank: int, members: Sequence[int]) -> ThreadCommunicator:
        return VirtualCommunicator(self._universe, world, rank, members, self.timeout)


def run_virtual(
    program: Callable[[VirtualCommunicator], Result],
    network: Network,
    *,
    killed: Mapping[int, float] | None = None,
    timeout: float = 60.0,
    staging_bytes: int = THREAD_STAGING_BYTES,
) -> list[Result | None]:
    """Run `program(communicator)` on the ranks of `network` and return their results, None of a killed one.

    Args:
        program: what each rank does.
        network: how many ranks there are, on which hosts, and what lies between them.
        killed: ranks that end at a time of their clock, in seconds.
        timeout: seconds that a collective waits on the virtual clock, and on the real one.
        staging_bytes: bytes of a chunk, a multiple of 64 and at least 64 per rank.

    Raises:
        ValueError: `killed` names a rank that there is not or a time below 0, or `timeout` is not above 0.
        Exception: of the first rank that raised.
    """
    killed = killed or {}
    size = len(network.hosts)
    _expect_times(killed, timeout, size)
    universe = _Universe(network, [_RankClock(death=killed.get(rank, _NEVER)) for rank in range(size)])

    def run(communicator: VirtualCommunicator) -> Result | None:
        try:
            return program(communicator)
        except Killed:
            for group in reversed(list(communicator.family)):
                with suppress(Killed):  # of calls that nobody waited for
                    group.close(_KILLED)
            return None

    return run_ranks_as_threads(
        size, run, lambda world, rank: VirtualCommunicator(universe, world, rank, None, timeout), staging_bytes
    )


def _expect_times(killed: Mapping[int, float], timeout: float, size: int) -> None:
    if not timeout > 0:  # so that NaN is refused too
        raise ValueError(expected("run_virtual, timeout", "more than 0 s", f"{timeout} s"))
    for rank, time in killed.items():
        if rank not in range(size):
            raise ValueError(expected("run_virtual, killed", f"ranks from 0 to {size - 1}", f"rank {rank!r}"))
        if not time >= 0:
            raise ValueError(expected("run_virtual, killed", "times of at least 0 s", f"{time} s of rank {rank}"))
