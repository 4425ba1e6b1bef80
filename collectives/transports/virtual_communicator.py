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

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from dtrain.base.errors import CollectiveError, expected
from dtrain.collectives.communicator.absence import late_error
from dtrain.collectives.communicator.ordered_calls import Prepare
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.memory.packed import Packed
from dtrain.collectives.memory.shared_window import NO_FRAME, Absence, State
from dtrain.collectives.programs import exchanges
from dtrain.collectives.programs.buffers import Buffers
from dtrain.collectives.programs.network import Network
from dtrain.collectives.programs.program import Program
from dtrain.collectives.programs.rank_order import Array, ReduceOp
from dtrain.collectives.programs.timeline import Span, Timeline, timeline
from dtrain.collectives.programs.weighing import Weighted
from dtrain.collectives.transports.thread_communicator import (
    THREAD_STAGING_BYTES,
    ThreadCommunicator,
    ThreadWorld,
    run_ranks_as_threads,
)
from dtrain.collectives.transports.virtual_world import (
    NEVER,
    PATIENCE_SECONDS,
    TIMED_SECONDS,
    CallTime,
    CallTimes,
    Everyone,
    Killed,
    Part,
    RankClock,
    Universe,
    VirtualWork,
)

Result = TypeVar("Result")

_KILLED = "was killed on the virtual clock"


class VirtualCommunicator(ThreadCommunicator):
    """One rank of a group on a virtual clock; made by `run_virtual`."""

    name = "virtual"

    def __init__(
        self,
        universe: Universe,
        world: ThreadWorld,
        rank: int,
        world_ranks: Sequence[int] | None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(world, rank, world_ranks, timeout)
        self._universe = universe
        self._board = universe.boards[world]
        self._clock = universe.clocks[self.world_ranks[rank]]
        self._network = universe.network.part(self.world_ranks)
        self._shares_memory = len(set(self._network.hosts)) == 1
        self._begun_at = self._busy_until = 0.0  # of the last call
        self._made_at: float | None = None  # of an asynchronous call, made earlier than it is carried out
        self._times = CallTimes()
        self._received_until: dict[tuple[int, int], float] = defaultdict(float)  # by source and tag

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
        if not 0 <= seconds < NEVER:
            raise ValueError(expected("compute", "a finite time of at least 0 s", f"{seconds} s"))
        self._clock.now += seconds
        self._check_alive(self._clock.now)

    # Collectives

    def _barrier(self, call_text: str) -> None:
        nothing = [np.empty(0, np.uint8)]
        self._carry("barrier", call_text, nothing, nothing)

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        """What ranks of such hosts do: they share memory if all are on one host, and send messages otherwise."""
        if self._shares_memory:
            return super()._program(kind, nbytes, root)
        return exchanges.program_of(kind, self.rank, self.size, nbytes, root=root, chunk_bytes=self._staging_bytes)

    def _carry(
        self,
        kind: str,
        call_text: str,
        sources: list[Array],
        outs: list[Array],
        op: ReduceOp | Weighted | None = None,
        root: int = 0,
    ) -> None:
        source, out = Packed(sources), Packed(outs)
        made, self._made_at = self._clock.now if self._made_at is None else self._made_at, None
        self._begun_at = max(made, self._busy_until)
        self._check_alive(self._begun_at)
        board, program = self._board, self._program(kind, source.nbytes, root)
        board.parts[self.rank] = Part(program, Buffers(program, source, out, sources[0].dtype), self._begun_at)
        if isinstance(op, Weighted):
            self._show_weight(op)
        self._begin_collective(call_text)
        parts = [board.parts[rank] for rank in range(self.size)]
        self._check_in_time([other.begin for other in parts])
        if self.rank == 0:
            reduction = self._settled(op) if isinstance(op, Weighted) else op
            for other in parts:
                other.buffers.op = reduction or "sum"
            board.outcome = self._simulate(parts)
        self._meet()
        self._end(board.outcome)

    def _simulate(self, parts: Sequence[Part]) -> Timeline:
        """One rank carries out the steps of all: they are few, and the arrays are in one process."""
        everyone = Everyone({rank: other.buffers for rank, other in enumerate(parts)})
        deaths = {rank: self._universe.clocks[member].death for rank, member in enumerate(self.world_ranks)}
        programs, begins = [other.program for other in parts], [other.begin for other in parts]
        outcome = timeline(programs, self._network, begins, deaths=deaths, carrier=everyone)
        members = self.world_ranks
        self._universe.spans += [span._replace(rank=members[span.rank]) for span in outcome.spans]
        return outcome

    def _end(self, outcome: Timeline) -> None:
        if self.rank in outcome.dead:
            self._check_alive(self._clock.death)
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
        self._busy_until = max(self._busy_until, since + self.timeout)
        raise self._late_error(late)

    def _late_error(self, late: Sequence[int]) -> CollectiveError:
        """What a real rank can know: flags in shared memory tell who is late, messages that do not come do not."""
        if self._shares_memory:
            return super()._absence_error(Absence(list(late), {}))
        return late_error(self._here(), [], {}, self.timeout, self._names)

    # Order and time

    def _now(self, prepare: Prepare[Result]) -> Result:
        try:
            return super()._now(prepare)
        finally:
            self._clock.put_forward(self._busy_until)

    def _later(self, prepare: Prepare[Result]) -> Work[Result]:
        time = CallTime(self._clock.now)

        def prepared() -> Callable[[], Result]:
            call = prepare()

            def task() -> Result:
                self._made_at = time.begin
                try:
                    return call()
                finally:
                    self._made_at, time.end = None, self._busy_until

            return task

        return VirtualWork(super()._later(prepared), self._clock, time)

    def _meet(self, half: int = NO_FRAME) -> bool:
        try:
            return self._window.meet(self._patience, half)
        except Absence as absence:
            raise self._absence_error(absence) from None

    @property
    def _patience(self) -> float:
        return max(self.timeout, PATIENCE_SECONDS)

    # Ranks that leave, in time to be heard of, or are killed

    def _check_alive(self, time: float) -> None:
        """End this rank if it has been killed by now."""
        if time >= self._clock.death:
            for group in list(self.family):
                group._collectives.settle(TIMED_SECONDS)  # what it began while it lived
            for group in list(self.family):
                if isinstance(group, VirtualCommunicator):
                    group._leave(NEVER)
                    group._window.leave(State.LEFT, _KILLED)
            raise Killed

    def close(self, reason: str = "has closed this communicator") -> None:
        if not self.is_inherited:
            self._leave(self._clock.now)
        super().close(reason)

    def _leave(self, time: float) -> None:
        for departures in (self._board.told, self._board.left):
            departures.setdefault(self.rank, time)

    def _tell_broken(self, state: State, text: str) -> None:
        self._board.told.setdefault(self.rank, max(self._busy_until, self._begun_at))
        super()._tell_broken(state, text)

    def _absence_error(self, absence: Absence) -> CollectiveError:
        deadline = self._begun_at + self.timeout
        heard = {rank: why for rank, why in absence.gone.items() if self._board.told[rank] < deadline}
        if heard:
            self._busy_until = max(self._begun_at, *(self._board.told[rank] for rank in heard))
            return super()._absence_error(Absence(absence.late, heard))
        self._busy_until = deadline
        # Who has given up had come, and waited as long as this rank: which of them is first is chance. Who has not
        # really come yet may still come in time.
        left = [rank for rank, (state, _) in absence.gone.items() if state is State.LEFT]
        return self._late_error(left or list(absence.gone) or absence.late)

    def _no_message(self, source: int, tag: int, gone: str = "") -> CollectiveError:
        time = self._times.carried_out
        time.end, left = time.begin + self.timeout, self._board.left.get(source, NEVER)
        if gone and left <= time.end:
            time.end = max(time.begin, left)
            return super()._no_message(source, tag, gone)
        return super()._no_message(source, tag)

    # Messages and groups

    def _send(self, array: Array, destination: int, tag: int) -> None:
        self._check_alive(self._clock.now)
        line = self._network.link(self.rank, destination)
        arrival = self._clock.now + line.predict(array.nbytes) + self._network.delay(self.rank)
        with self._world.changed:
            self._universe.messages[self.group, self.rank, destination, tag].append(arrival)
        super()._send(array, destination, tag)

    def recv(self, **message: Any) -> Array:
        try:
            return super().recv(**message)
        finally:
            self._clock.put_forward(self._times.made.end)

    def recv_async(self, **message: Any) -> Work[Array]:
        work = super().recv_async(**message)
        return VirtualWork(work, self._clock, self._times.made)

    def _recv_call(self, *message: Any) -> Callable[[], Array]:
        call = super()._recv_call(*message)
        time = self._times.made = CallTime(self._clock.now)

        def carry_out() -> Array:
            self._times.carried_out = time
            return call()

        return carry_out

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: Any) -> Array:
        time = self._times.carried_out
        time.begin = max(time.begin, self._received_until[source, tag])
        self._check_alive(time.begin)
        try:
            array = super()._recv(source, tag, shape, dtype)
            with self._world.changed:
                arrivals = self._universe.messages[self.group, source, self.rank, tag]
                if arrivals[0] > time.begin + self.timeout:  # it stays for who comes later
                    self._world.messages[source, self.rank, tag].appendleft(array)
                    raise self._no_message(source, tag)
                time.end = max(time.begin, arrivals.popleft())
            return array
        finally:
            self._received_until[source, tag] = time.end

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
        timeout: seconds that a call waits on the virtual clock; on the real one it waits for ten at least.
        staging_bytes: bytes of a chunk, a multiple of 64 and at least 64 per rank.

    Raises:
        ValueError: `killed` names a rank that there is not or a time below 0, or `timeout` is not above 0.
        Exception: of the first rank that raised.
    """
    killed = killed or {}
    size = len(network.hosts)
    _expect_times(killed, timeout, size)
    universe = Universe(network, [RankClock(death=killed.get(rank, NEVER)) for rank in range(size)])

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
