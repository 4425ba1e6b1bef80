"""MPI ranks on several hosts: the programs of `exchanges`, carried out by messages.

MPI's own reductions, whose order changes with the algorithm it picks, are not used: it only moves bytes. Whatever it
reads or writes is memory of our own: it may still do so when an error has ended the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.absence import gone_error, late_error
from dtrain.collectives.communicator.call_text import CALL_TEXT_BYTES, DIGEST_BYTES, mismatch
from dtrain.collectives.communicator.group_calls import ordinary_memory
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.memory.packed import Packed
from dtrain.collectives.memory.shared_window import State
from dtrain.collectives.programs import exchanges
from dtrain.collectives.programs.bound import Bound, BoundProgram, CollectiveCall, Kept, bind
from dtrain.collectives.programs.program import Exchange, Program
from dtrain.collectives.programs.rank_order import Array, ReduceOp
from dtrain.collectives.programs.weighing import SHOWN_BYTES, Weighted
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.message_steps import binder
from dtrain.collectives.transports.mpi_messages import Departure
from dtrain.collectives.transports.mpi_rank import MpiJob, MpiRank, job_of
from dtrain.collectives.transports.mpi_start import wait_until
from dtrain.collectives.transports.mpi_transfers import Transfers

if TYPE_CHECKING:
    from mpi4py import MPI

CHUNK_BYTES = 8 << 20  # in which messages travel
# Seconds in which ranks that close a broken group see to the splits that some of them have begun.
SPLIT_SECONDS = 10.0
NEWS_SECONDS = 0.5


class MpiMessageCommunicator(MpiRank):
    """MPI ranks on several hosts."""

    name = "mpi_messages"

    def __init__(
        self, job: MpiJob, key: str, comm: MPI.Intracomm, world_ranks: Sequence[int] | None, timeout: float | None
    ) -> None:
        super().__init__(job, key, comm.Get_rank(), comm.Get_size(), world_ranks, timeout)
        self._comm = comm
        self._byte = _byte()
        self._transfers = Transfers()
        self._bound: Kept[BoundProgram] = Kept()
        self._splits: list[threading.Thread] = []  # each waits in MPI
        self._others = [rank for rank in self.world_ranks if rank != self.world_ranks[self.rank]]

    @classmethod
    def detect(cls, group: Membership) -> str:
        hosts = len(set(group.hosts))
        return f"its ranks are on {hosts} host{'s' if hosts > 1 else ''}"

    @classmethod
    def join(cls, group: Membership) -> MpiMessageCommunicator | None:
        job, parent = job_of(group), group.came_of
        comm = job.comm if parent is None else parent._split_comm(list(group.ranks))
        return None if comm is None else cls(job, group.key, comm, group.world_ranks, group.timeout)

    def close(self, reason: str = "has closed this communicator") -> None:
        if self.is_inherited:
            return
        is_first = not self._is_closing
        try:
            super().close(reason)
        finally:
            if is_first:
                self._leave(reason)

    def _leave(self, reason: str) -> None:
        departure = Departure(State.LEFT, reason, self._begun, self._splits_begun)
        self._job.messages.notify(self._key, self._others, departure)
        self._flush()
        if self.is_broken:
            self._end_splits()
        self._job.messages.forget(self._key)
        self._bound.clear()  # methods of this object, which would keep it until cycles are looked for
        # MPI lets each rank free its handle for itself. The world's own goes with the process.
        if self._comm is not self._job.comm and not self._transfers.collect():
            self._comm.Free()

    def _tell_broken(self, state: State, text: str) -> None:
        self._transfers.keep_for_good()
        departure = Departure(state, text, self._begun - 1, self._splits_begun)
        self._job.messages.notify(self._key, self._others, departure)

    def _left(self, rank: int) -> str:
        return self._job.messages.has_left(self._key, self.world_ranks[rank])

    def _gone(self) -> dict[int, tuple[State, str]]:
        """Ranks that have left before this call, or in it; who has carried it out may have left behind it."""
        return {
            self.world_ranks.index(rank): (departure.state, departure.text)
            for rank, departure in self._job.messages.departures(self._key).items()
            if departure.calls < self._begun
        }

    def _split_comm(self, members: list[int]) -> MPI.Intracomm | None:
        from mpi4py import MPI

        color, key = (members[0], members.index(self.rank)) if members else (MPI.UNDEFINED, 0)
        work = self._begin_split(color, key)
        self._wait_until(work.is_completed)
        with self._mpi_errors():
            comm: MPI.Intracomm = work.wait()
        if members and comm.Get_size() < len(members):
            # A rank broke off and only made up for the split; news of it may come behind the split's end.
            self._wait_until(lambda: False)
        return comm if members else None

    def _begin_split(self, color: int, key: int) -> Work[Any]:
        """MPI has no split that does not wait, so a thread waits and the caller keeps to its time."""
        work: Work[Any] = Work(lambda: self._comm.Split(color, key))
        self._splits.append(threading.Thread(target=work.carry_out, name="split", daemon=True))
        self._splits[-1].start()
        return work

    @property
    def _splits_begun(self) -> int:
        return sum(thread.ident is not None for thread in self._splits)

    def _end_splits(self) -> None:
        """A call of some rank broke off, perhaps a split that others have begun: their threads wait in MPI for it, and
        MPI crashes that ends while a thread is in it. Who has begun fewer splits than others makes up for them."""
        from mpi4py import MPI

        def is_over() -> bool:
            self._job.messages.poll()
            departures = self._job.messages.departures(self._key)
            most = max((departure.splits for departure in departures.values()), default=0)
            while self._splits_begun < most:
                self._begin_split(MPI.UNDEFINED, 0)
            return len(departures) == len(self._others) and not is_waiting()

        def is_waiting() -> bool:
            return any(thread.is_alive() for thread in self._splits)

        if not wait_until(is_over, min(NEWS_SECONDS, self.timeout)) and is_waiting():
            wait_until(is_over, SPLIT_SECONDS)

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        return exchanges.program_of(kind, self.rank, self.size, nbytes, root=root, chunk_bytes=CHUNK_BYTES)

    def _carry(
        self,
        kind: str,
        call_text: str,
        sources: list[Array],
        outs: list[Array],
        op: ReduceOp | Weighted | None = None,
        root: int = 0,
    ) -> None:
        """Carry out the program of this kind of call. MPI reads and writes scratch, which is given to nobody else."""
        call, dtype = CollectiveCall(call_text, Packed(sources), Packed(outs), op), sources[0].dtype
        key = kind, call.source.nbytes, dtype, root
        bound = self._bound.get(key)
        if bound is None:
            program = self._program(kind, call.source.nbytes, root)
            bound = self._bound.keep(key, bind(program, binder(program, dtype, self._begin, self._exchange)))
        for name, nbytes in bound.program.scratch.items():
            call.scratch[name] = np.empty(nbytes, np.uint8)
        if call.source.only is None and "chunk" in call.scratch:
            call.scratch["chunk"][...] = 0  # nobody should read in padding what memory held before
        for halves, starts in bound.parts:
            for start in starts:
                if start and self._lanes:
                    self._give_way()
                for step in halves[0]:
                    step(call, start)

    def _begin(self, call: CollectiveCall, start: int) -> None:
        """The first meeting of a call: after it the reduction is known."""
        if call.weighted is None:
            self._agree(call.call_text)
        else:
            call.op = call.weighted.coefficients(self._agree(call.call_text, call.weighted.shown()))

    def _exchange(self, exchange: Exchange) -> Bound:
        """One call of MPI for what all ranks send and receive together."""
        if exchange.pattern == "broadcast":
            return self._broadcast_step(exchange)
        start_it = self._start_of(exchange)
        sent_from, received_in = exchange.sent.whole, exchange.received.whole

        def step(call: CollectiveCall, start: int) -> None:
            sent, received = call.scratch[sent_from.buffer], call.scratch[received_in.buffer]
            if sent.size != sent_from.nbytes:
                sent = sent[sent_from.start : sent_from.stop]
            if received.size != received_in.nbytes:
                received = received[received_in.start : received_in.stop]
            self._wait(lambda: start_it(sent, received), sent, received)

        return step

    def _start_of(self, exchange: Exchange) -> Callable[[Array, Array], MPI.Request]:
        """MPI's function for an exchange in which everybody sends to everybody."""
        comm, byte = self._comm, self._byte
        (_, counts, starts, sends_alike), (_, its_counts, its_starts, receives_alike) = exchange.sent, exchange.received
        count = counts[0]
        if exchange.pattern == "all_gather" and receives_alike:
            return lambda sent, received: comm.Iallgather([sent, count, byte], [received, count, byte])
        if exchange.pattern == "all_gather":
            return lambda sent, received: comm.Iallgatherv(
                [sent, count, byte], [received, its_counts, its_starts, byte]
            )
        if sends_alike and receives_alike:  # on all ranks, whose messages are cut alike
            return lambda sent, received: comm.Ialltoall([sent, count, byte], [received, count, byte])
        return lambda sent, received: comm.Ialltoallv(
            [sent, counts, starts, byte], [received, its_counts, its_starts, byte]
        )

    def _broadcast_step(self, exchange: Exchange) -> Bound:
        if not exchange.sends and not exchange.receives:  # a world of one
            return lambda call, start: None
        root = exchange.receives[0].peer if exchange.receives else self.rank
        data = (exchange.receives or exchange.sends)[0].data

        def step(call: CollectiveCall, start: int) -> None:
            array = call.scratch[data.buffer][data.start : data.stop]
            self._wait(lambda: self._comm.Ibcast([array, array.size, self._byte], root), array)

        return step

    def _barrier(self, call_text: str) -> None:
        self._agree(call_text)

    def _allocate(self, call_text: str, nbytes: int) -> Array:
        self._agree(call_text)
        memory, trouble = None, ""
        try:
            memory = ordinary_memory(nbytes)
        except CollectiveError as error:
            trouble = str(error)
        troubles = self._tell_all("allocate, its memory", trouble)
        if memory is None or any(troubles):
            rank, reason = next((rank, text) for rank, text in enumerate(troubles) if text)
            raise self._agreed(CollectiveError(f"{self._here()}: {self._names([rank])} has no memory: {reason}"))
        return memory

    def _agree(self, call_text: str, weight: bytes = b"") -> list[bytes]:
        """Begin a collective: exchange the calls and compare them. Nobody leaves before everybody has come.

        Returns what every rank has shown as its `weight`.
        """
        frame = self._shown_frame(call_text)
        frames = np.empty((self.size, CALL_TEXT_BYTES + SHOWN_BYTES), np.uint8)
        self._gather(np.frombuffer(frame + weight.ljust(SHOWN_BYTES, b"\0"), np.uint8), frames)
        shown = [row[:CALL_TEXT_BYTES].tobytes() for row in frames]
        if any(other[:DIGEST_BYTES] != frame[:DIGEST_BYTES] for other in shown):
            raise self._agreed(mismatch(self.group, self._begun, shown, self.world_ranks))
        return [row[CALL_TEXT_BYTES:].tobytes() for row in frames]

    def _gather(self, mine: Array, everyone: Array) -> None:
        count = mine.size
        self._wait(
            lambda: self._comm.Iallgather([mine, count, self._byte], [everyone, count, self._byte]), mine, everyone
        )

    def _wait(self, start: Callable[[], MPI.Request], *arrays: Array) -> None:
        """Begin a transfer of `arrays` and wait for it. They must be ours alone: an error may leave it under way."""
        with self._mpi_errors():
            transfer = self._transfers.begin(start, *arrays)
            self._wait_until(transfer.is_done)
            self._transfers.end(transfer)

    def _wait_until(self, is_done: Callable[[], bool]) -> None:
        came = wait_until(lambda: is_done() or bool(self._gone()), self.timeout, self._job.messages.poll)
        if is_done():
            return
        gone = self._gone()
        if came and gone:
            raise gone_error(self._here(), gone, self._names)
        raise late_error(self._here(), [], {}, self.timeout, self._names)


def _byte() -> MPI.Datatype:
    from mpi4py import MPI

    return MPI.BYTE
