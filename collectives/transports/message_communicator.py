"""MPI ranks on several hosts: collectives by messages.

They follow the rule of summation too: slices are exchanged (all-to-all), each rank reduces its slice in rank order, and
the slices are gathered; MPI's own reductions, whose order changes with the algorithm it picks, are not used. Whatever
MPI reads or writes is memory of our own: it may still do so when an error has ended the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.absence import gone_error, late_error
from dtrain.collectives.communicator.group_calls import ordinary_memory
from dtrain.collectives.communicator.signature import DIGEST_BYTES, SIGNATURE_BYTES, mismatch
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.memory.packed import Packed, slices
from dtrain.collectives.memory.shared_window import State
from dtrain.collectives.programs.rank_order import Array, ReduceOp, Reduction, reduce_in_rank_order
from dtrain.collectives.programs.weighing import SHOWN_BYTES, Weighted
from dtrain.collectives.transports.mpi_mailroom import Departure
from dtrain.collectives.transports.mpi_rank import MpiJob, MpiRank
from dtrain.collectives.transports.mpi_start import wait_until
from dtrain.collectives.transports.mpi_transfers import Transfers

if TYPE_CHECKING:
    from mpi4py import MPI

# Bytes. Up to here everybody gets everything in one exchange; above, slices travel in chunks of this many bytes.
ONE_EXCHANGE_BYTES = 4096
CHUNK_BYTES = 8 << 20
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
        self._transfers = Transfers()
        self._splits: list[threading.Thread] = []  # each waits in MPI
        self._others = [rank for rank in self.world_ranks if rank != self.world_ranks[self.rank]]

    def algorithm(self, kind: str, nbytes: int) -> str:
        if kind in ("all_reduce", "all_reduce_many"):
            return "messages_all_gather" if nbytes <= ONE_EXCHANGE_BYTES else "messages_slices"
        return "messages_" + kind

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
        self._job.mailroom.notify(self._key, self._others, departure)
        self._flush()
        if self.is_broken:
            self._end_splits()
        self._job.mailroom.forget(self._key)
        # MPI lets each rank free its handle for itself. The world's own goes with the process.
        if self._comm is not self._job.comm and not self._transfers.collect():
            self._comm.Free()

    def _tell_broken(self, state: State, text: str) -> None:
        self._transfers.keep_for_good()
        departure = Departure(state, text, self._begun - 1, self._splits_begun)
        self._job.mailroom.notify(self._key, self._others, departure)

    def _left(self, rank: int) -> str:
        return self._job.mailroom.has_left(self._key, self.world_ranks[rank])

    def _gone(self) -> dict[int, tuple[State, str]]:
        """Ranks that have left before this call, or in it; who has carried it out may have left behind it."""
        return {
            self.world_ranks.index(rank): (departure.state, departure.text)
            for rank, departure in self._job.mailroom.departures(self._key).items()
            if departure.calls < self._begun
        }

    def _split_comm(self, members: list[int]) -> MPI.Intracomm | None:
        from mpi4py import MPI

        color, key = (members[0], members.index(self.rank)) if members else (MPI.UNDEFINED, 0)
        work = self._begin_split(color, key)
        self._wait_until(work.is_completed)
        with self._mpi_errors():
            comm: MPI.Intracomm = work.wait()
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
            self._job.mailroom.poll()
            departures = self._job.mailroom.departures(self._key)
            most = max((departure.splits for departure in departures.values()), default=0)
            while self._splits_begun < most:
                self._begin_split(MPI.UNDEFINED, 0)
            return len(departures) == len(self._others) and not is_waiting()

        def is_waiting() -> bool:
            return any(thread.is_alive() for thread in self._splits)

        if not wait_until(is_over, min(NEWS_SECONDS, self.timeout)) and is_waiting():
            wait_until(is_over, SPLIT_SECONDS)

    def _all_reduce(self, text: str, sources: list[Array], outs: list[Array], op: ReduceOp | Weighted) -> None:
        reduction: Reduction
        if isinstance(op, Weighted):
            reduction = op.coefficients(self._agree(text, op.shown()))
        else:
            self._agree(text)
            reduction = op
        source, out, dtype = Packed(sources), Packed(outs), sources[0].dtype
        for start in range(0, source.nbytes, CHUNK_BYTES):
            chunk = np.zeros(min(CHUNK_BYTES, source.nbytes - start), np.uint8)
            source.read(start, chunk)
            one_exchange = source.nbytes <= ONE_EXCHANGE_BYTES
            (self._reduce_everything if one_exchange else self._reduce_slices)(chunk, dtype, reduction)
            out.write(start, chunk)

    def _reduce_everything(self, chunk: Array, dtype: np.dtype[Any], op: Reduction) -> None:
        everyone = np.empty((self.size, chunk.size), np.uint8)
        self._gather(chunk, everyone)
        reduce_in_rank_order([part.view(dtype) for part in everyone], op, chunk.view(dtype))

    def _reduce_slices(self, chunk: Array, dtype: np.dtype[Any], op: Reduction) -> None:
        borders = slices(chunk.size, self.size)
        starts = [first for first, _ in borders]
        counts = [last - first for first, last in borders]
        mine = counts[self.rank]
        parts = np.empty((self.size, mine), np.uint8)
        received = [mine] * self.size
        self._wait(
            lambda: self._comm.Ialltoallv(
                [chunk, counts, starts, _byte()],
                [parts, received, [mine * rank for rank in range(self.size)], _byte()],
            ),
            chunk,
            parts,
        )
        result = np.empty(mine, np.uint8)
        reduce_in_rank_order([part.view(dtype) for part in parts], op, result.view(dtype))
        self._wait(
            lambda: self._comm.Iallgatherv([result, mine, _byte()], [chunk, counts, starts, _byte()]), result, chunk
        )

    def _reduce_scatter(self, text: str, source: Array, out: Array, op: ReduceOp) -> None:
        parts = np.empty((self.size, out.size), out.dtype)
        self._all_to_all(text, source, parts.reshape(-1))
        reduce_in_rank_order(list(parts), op, out)

    def _all_gather(self, text: str, source: Array, out: Array) -> None:
        self._agree(text)
        rows = out.view(np.uint8).reshape(self.size, -1) if out.size else out.view(np.uint8)
        data = source.view(np.uint8)
        for start in range(0, data.size, CHUNK_BYTES):
            piece = data[start : start + CHUNK_BYTES].copy()
            everyone = np.empty((self.size, piece.size), np.uint8)
            self._gather(piece, everyone)
            rows[:, start : start + CHUNK_BYTES] = everyone

    def _broadcast(self, text: str, source: Array, out: Array, root: int) -> None:
        self._agree(text)
        data = (source if self.rank == root else out).view(np.uint8)
        for start in range(0, data.size, CHUNK_BYTES):
            # A copy on every rank: after an error the transport may still write, and `out` is the caller's again.
            buffer = data[start : start + CHUNK_BYTES].copy()
            self._broadcast_chunk(buffer, root)
            if self.rank != root:
                data[start : start + CHUNK_BYTES] = buffer
        if self.rank == root:
            np.copyto(out, source)

    def _broadcast_chunk(self, buffer: Array, root: int) -> None:
        self._wait(lambda: self._comm.Ibcast([buffer, buffer.size, _byte()], root), buffer)

    def _all_to_all(self, text: str, source: Array, out: Array) -> None:
        self._agree(text)
        if not source.size:
            return
        blocks = source.view(np.uint8).reshape(self.size, -1)
        rows = out.view(np.uint8).reshape(self.size, -1)
        width = max(CHUNK_BYTES // self.size, 1)
        for start in range(0, blocks.shape[1], width):
            sent = np.array(blocks[:, start : start + width], order="C")
            rows[:, start : start + width] = self._exchange_rows(sent)

    def _exchange_rows(self, sent: Array) -> Array:
        received, count = np.empty_like(sent), sent.shape[1]
        self._wait(lambda: self._comm.Ialltoall([sent, count, _byte()], [received, count, _byte()]), sent, received)
        return received

    def _barrier(self, text: str) -> None:
        self._agree(text)

    def _allocate(self, text: str, nbytes: int) -> Array:
        self._agree(text)
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

    def _agree(self, text: str, weight: bytes = b"") -> list[bytes]:
        """Begin a collective: exchange the calls and compare them. Nobody leaves before everybody has come.

        Returns what every rank has shown as its `weight`.
        """
        frame = self._shown_frame(text)
        frames = np.empty((self.size, SIGNATURE_BYTES + SHOWN_BYTES), np.uint8)
        self._gather(np.frombuffer(frame + weight.ljust(SHOWN_BYTES, b"\0"), np.uint8), frames)
        shown = [row[:SIGNATURE_BYTES].tobytes() for row in frames]
        if any(other[:DIGEST_BYTES] != frame[:DIGEST_BYTES] for other in shown):
            raise self._agreed(mismatch(self.group, self._begun, shown, self.world_ranks))
        return [row[SIGNATURE_BYTES:].tobytes() for row in frames]

    def _gather(self, mine: Array, everyone: Array) -> None:
        count = mine.size
        self._wait(lambda: self._comm.Iallgather([mine, count, _byte()], [everyone, count, _byte()]), mine, everyone)

    def _wait(self, start: Callable[[], MPI.Request], *arrays: Array) -> None:
        """Begin a transfer of `arrays` and wait for it. They must be ours alone: an error may leave it under way."""
        with self._mpi_errors():
            transfer = self._transfers.begin(start, *arrays)
            self._wait_until(transfer.is_done)
            self._transfers.end(transfer)

    def _wait_until(self, is_done: Callable[[], bool]) -> None:
        came = wait_until(lambda: is_done() or bool(self._gone()), self.timeout, self._job.mailroom.poll)
        if is_done():
            return
        gone = self._gone()
        if came and gone:
            raise gone_error(self._here(), gone, self._names)
        raise late_error(self._here(), [], {}, self.timeout, self._names)


def _byte() -> MPI.Datatype:
    from mpi4py import MPI

    return MPI.BYTE
