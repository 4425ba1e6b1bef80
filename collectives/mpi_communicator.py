"""MPI ranks: through shared memory where all of them are on one host, by messages otherwise.

`make_mpi_communicator` chooses. Messages follow the rule of summation too: slices are exchanged (all-to-all), each
rank reduces its slice in rank order, and the slices are gathered; MPI's own reductions, whose order changes with the
algorithm it picks, are not used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dtrain.base.dtype import DType, as_dtype, from_numpy
from dtrain.base.errors import CollectiveError, PeerLostError, expected
from dtrain.collectives.communicator import Communicator
from dtrain.collectives.mpi_start import wait_until
from dtrain.collectives.mpi_window import MpiWindow
from dtrain.collectives.packed import Packed, slices
from dtrain.collectives.rank_order import Array, ReduceOp, Reduction, reduce_in_rank_order
from dtrain.collectives.shared_communicator import DEFAULT_STAGING_BYTES, SharedCommunicator
from dtrain.collectives.signature import SIGNATURE_BYTES, frame_of, mismatch
from dtrain.collectives.weighing import SHOWN_BYTES, Weighted

if TYPE_CHECKING:
    from mpi4py import MPI

Transport = Literal["auto", "shared", "messages"]

# Bytes. Up to here everybody gets everything in one exchange; above, slices travel in chunks of this many bytes.
ONE_EXCHANGE_BYTES = 4096
CHUNK_BYTES = 8 << 20
_LETTER_BYTES = 256
_PIECE_BYTES = 1 << 30
_MAX_TAG = 1 << 20


def make_mpi_communicator(
    comm: MPI.Intracomm,
    *,
    world_ranks: Sequence[int] | None = None,
    transport: Transport = "auto",
    staging_bytes: int = DEFAULT_STAGING_BYTES,
    timeout: float | None = None,
) -> Communicator:
    """A communicator over `comm`, which it owns from now on (collective).

    Args:
        comm: an MPI communicator; duplicate it first if anybody else uses it.
        world_ranks: the members' ranks in the world; None if `comm` is the world.
        transport: "shared" and "messages" are for tests and benchmarks; "auto" looks where the ranks are.
        staging_bytes: chunk size in shared memory.
        timeout: seconds that a collective waits.
    """
    from mpi4py import MPI

    if transport == "auto":
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        transport = "shared" if node.size == comm.size else "messages"
        node.Free()
    if transport == "shared":
        return MpiSharedCommunicator(
            comm, world_ranks, staging_bytes=max(staging_bytes, 64 * comm.size), timeout=timeout
        )
    return MpiMessageCommunicator(comm, world_ranks, timeout)


class _MpiPost:
    """Letters from rank to rank: a header with shape and dtype, then the bytes. Sending never waits."""

    def __init__(self, comm: MPI.Intracomm, group: str) -> None:
        self._comm = comm
        self._group = group
        self._pending: list[tuple[MPI.Request, Array]] = []
        self._changed = threading.Condition()
        self._carrier: threading.Thread | None = None

    def send(self, array: Array, destination: int, tag: int) -> None:
        self._check_tag("send", tag)
        text = f"{from_numpy(array.dtype).tag} {','.join(map(str, array.shape))}"
        header = np.frombuffer(text.encode().ljust(_LETTER_BYTES, b"\0"), np.uint8)
        body = np.array(array, order="C").reshape(-1).view(np.uint8)
        with self._changed:  # header and body of one letter stay together when threads send
            self._post(header, destination, 2 * tag)
            for start in range(0, body.size, _PIECE_BYTES):
                self._post(body[start : start + _PIECE_BYTES], destination, 2 * tag + 1)
            if self._pending and self._carrier is None:
                self._carrier = threading.Thread(target=self._carry, name=f"mail of {self._group}", daemon=True)
                self._carrier.start()
            self._changed.notify()

    def recv(self, source: int, tag: int, timeout: float) -> Array:
        self._check_tag("recv", tag)
        header = np.empty(_LETTER_BYTES, np.uint8)
        self._fetch(header, source, 2 * tag, timeout)
        dtype, _, sizes = header.tobytes().rstrip(b"\0").decode().partition(" ")
        array: Array = np.empty([int(size) for size in sizes.split(",") if size], as_dtype(dtype).numpy)
        body = array.reshape(-1).view(np.uint8)
        for start in range(0, body.size, _PIECE_BYTES):
            self._fetch(body[start : start + _PIECE_BYTES], source, 2 * tag + 1, timeout)
        return array

    def close(self) -> None:
        """Wait until everything sent is on its way."""
        with self._changed:
            while self._pending:
                self._changed.wait(0.01)

    def _post(self, data: Array, destination: int, tag: int) -> None:
        request = self._comm.Isend([data, data.size, _byte()], destination, tag)
        if not request.Test():
            self._pending.append((request, data))

    def _fetch(self, data: Array, source: int, tag: int, timeout: float) -> None:
        request = self._comm.Irecv([data, data.size, _byte()], source, tag)
        if not wait_until(request.Test, timeout):
            request.Cancel()
            raise CollectiveError(
                f"recv on rank {self._comm.rank} of group {self._group!r}: expected a message with tag {tag // 2} from "
                f"rank {source} within {timeout:g} s, got none; check destination and tag of the sender"
            )

    def _carry(self) -> None:
        """Keep MPI moving while letters are under way: it moves bytes only inside of its calls."""
        while True:
            with self._changed:
                while not self._pending:
                    self._changed.wait()
                self._pending = [letter for letter in self._pending if not letter[0].Test()]
                self._changed.notify_all()
            time.sleep(100e-6)

    def _check_tag(self, where: str, tag: int) -> None:
        if not 0 <= tag < _MAX_TAG:
            raise ValueError(expected(where, f"a tag in 0..{_MAX_TAG - 1}", str(tag)))


class _MpiRank(Communicator):
    """What both ways share: letters, groups and the end of the job."""

    _comm: MPI.Intracomm
    _post: _MpiPost
    _transport: Transport

    def abort(self, code: int = 1) -> None:
        self._comm.Abort(code)

    def _send(self, array: Array, destination: int, tag: int) -> None:
        with _mpi_errors(self.group):
            self._post.send(array, destination, tag)

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array:
        with _mpi_errors(self.group):
            return self._post.recv(source, tag, self.timeout)

    def _split(self, ranks: list[int]) -> Communicator | None:
        from mpi4py import MPI

        with _mpi_errors(self.group):
            color, key = (ranks[0], ranks.index(self.rank)) if ranks else (MPI.UNDEFINED, 0)
            child: Any = self._comm.Split(color, key)
            if not ranks:
                return None
            members = [self.world_ranks[rank] for rank in ranks]
            return make_mpi_communicator(child, world_ranks=members, transport=self._transport, timeout=self.timeout)


class MpiSharedCommunicator(_MpiRank, SharedCommunicator):
    """MPI ranks of one host: MPI makes the shared memory and carries letters; collectives do not go through it."""

    name = "mpi_shared"
    _transport = "shared"

    def __init__(
        self,
        comm: MPI.Intracomm,
        world_ranks: Sequence[int] | None,
        *,
        staging_bytes: int,
        timeout: float | None = None,
    ) -> None:
        window = MpiWindow(comm, staging_bytes)
        SharedCommunicator.__init__(self, window, world_ranks, staging_bytes=staging_bytes, timeout=timeout)
        self._comm = comm
        self._post = _MpiPost(comm.Dup(), self.group)

    def close(self) -> None:
        self._post.close()
        super().close()


class MpiMessageCommunicator(_MpiRank):
    """MPI ranks on several hosts."""

    name = "mpi_messages"
    _transport = "messages"

    def __init__(self, comm: MPI.Intracomm, world_ranks: Sequence[int] | None, timeout: float | None = None) -> None:
        super().__init__(comm.Get_rank(), comm.Get_size(), world_ranks, timeout)
        self._comm = comm
        self._post = _MpiPost(comm.Dup(), self.group)
        self._calls = 0

    def algorithm(self, kind: str, nbytes: int) -> str:
        if kind in ("all_reduce", "all_reduce_many"):
            return "messages_all_gather" if nbytes <= ONE_EXCHANGE_BYTES else "messages_slices"
        return "messages_" + kind

    def close(self) -> None:
        self._post.close()
        super().close()

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
            self._comm.Ialltoallv(
                [chunk, counts, starts, _byte()],
                [parts, received, [mine * rank for rank in range(self.size)], _byte()],
            )
        )
        result = np.empty(mine, np.uint8)
        reduce_in_rank_order([part.view(dtype) for part in parts], op, result.view(dtype))
        self._wait(self._comm.Iallgatherv([result, mine, _byte()], [chunk, counts, starts, _byte()]))

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
            piece = data[start : start + CHUNK_BYTES]
            buffer = piece.copy() if self.rank == root else piece
            self._wait(self._comm.Ibcast([buffer, buffer.size, _byte()], root))
        if self.rank == root:
            np.copyto(out, source)

    def _all_to_all(self, text: str, source: Array, out: Array) -> None:
        self._agree(text)
        if not source.size:
            return
        blocks = source.view(np.uint8).reshape(self.size, -1)
        rows = out.view(np.uint8).reshape(self.size, -1)
        blocks = blocks.copy() if np.may_share_memory(blocks, rows) else blocks
        width = max(CHUNK_BYTES // self.size, 1)
        for start in range(0, blocks.shape[1], width):
            sent = np.ascontiguousarray(blocks[:, start : start + width])
            received = np.empty_like(sent)
            count = sent.shape[1]
            self._wait(self._comm.Ialltoall([sent, count, _byte()], [received, count, _byte()]))
            rows[:, start : start + width] = received

    def _barrier(self, text: str) -> None:
        self._agree(text)

    def _agree(self, text: str, weight: bytes = b"") -> list[bytes]:
        """Begin a collective: exchange the calls and compare them. Nobody leaves before everybody has come.

        Returns what every rank has shown as its `weight`.
        """
        self._calls += 1
        frame = frame_of(text)
        frames = np.empty((self.size, SIGNATURE_BYTES + SHOWN_BYTES), np.uint8)
        self._gather(np.frombuffer(frame + weight.ljust(SHOWN_BYTES, b"\0"), np.uint8), frames)
        shown = [row[:SIGNATURE_BYTES].tobytes() for row in frames]
        if any(other != frame for other in shown):
            raise mismatch(self.group, self._calls, shown)
        return [row[SIGNATURE_BYTES:].tobytes() for row in frames]

    def _gather(self, mine: Array, everyone: Array) -> None:
        count = mine.size
        self._wait(self._comm.Iallgather([mine, count, _byte()], [everyone, count, _byte()]))

    def _wait(self, request: MPI.Request) -> None:
        with _mpi_errors(self.group):
            if not wait_until(request.Test, self.timeout):
                raise CollectiveError(
                    f"group {self.group!r}, collective {self._calls} on rank {self.rank}: expected all "
                    f"{self.size} ranks within {self.timeout:g} s, got not all of them; look at what the others are "
                    "doing, or raise DTRAIN_COLLECTIVE_TIMEOUT"
                )


@contextmanager
def _mpi_errors(group: str) -> Iterator[None]:
    """Raise MPI's errors as ours."""
    from mpi4py import MPI

    try:
        yield
    except MPI.Exception as error:
        raise PeerLostError(
            f"group {group!r}: expected every rank to answer, got MPI error {error.Get_error_string()!r}; "
            "look at what the other ranks printed last"
        ) from error


def _byte() -> MPI.Datatype:
    from mpi4py import MPI

    return MPI.BYTE
