"""CUDA arrays through NCCL, one rank per device (or several, where NCCL allows it), under a communicator of hosts.

Work goes to a stream of its own: it begins after an event of the caller's stream and the caller's stream waits for an
event at its end, so the host never waits. Before each call the ranks compare their call texts through the parent, on
the host.

The rule of summation holds on devices as well: NCCL only moves bytes (grouped sends and receives, as many on the wire
as a ring needs) and each rank reduces its slice in rank order. With `reduction="nccl"` NCCL adds, with algorithm Ring
and protocol Simple pinned: runs then repeat bitwise and ranks agree bitwise, but the order of summation depends on
where an element lies in the message, and f16 and bf16 round at every step.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from dtrain.base.device import as_device
from dtrain.base.dtype import DType, from_numpy
from dtrain.base.errors import CollectiveError, CollectiveMismatchError, DeviceError, DtypeError, expected
from dtrain.base.tensor_type import tensor_type
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.ordered_calls import Prepare
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.memory.packed import Packed, address_of, packed_offsets
from dtrain.collectives.memory.shared_window import State
from dtrain.collectives.programs import exchanges
from dtrain.collectives.programs.program import Copy, Exchange, Program, Reduce, Slice
from dtrain.collectives.programs.rank_order import Array, ReduceOp
from dtrain.collectives.programs.weighing import Weighted
from dtrain.collectives.transports import nccl_library
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.nccl_library import BOOL_OPS, OPS, TYPES
from dtrain.collectives.transports.stream_work import StreamWork

Result = TypeVar("Result")


class NcclCommunicator(Communicator):
    """The ranks of `parent`, each with one CUDA device.

    Python objects, messages (`send`, `recv`) and the agreement on calls travel through the parent.
    """

    name = "nccl"

    def __init__(
        self,
        parent: Communicator,
        device_index: int,
        *,
        reduction: Literal["rank_order", "nccl"] = "rank_order",
        checks_calls: bool = True,
    ) -> None:
        """Connect (collective over `parent`).

        Args:
            parent: the same ranks on their hosts; it stays open and has to outlive this one.
            device_index: this rank's CUDA device.
            reduction: who adds; see the module's text. Weighted reductions follow the rule of summation either way.
            checks_calls: compare calls before each collective. Without it a mismatch hangs, as NCCL does.

        Raises:
            DeviceError: CuPy, NCCL or the device is missing.
        """
        world_ranks = None if parent.group == "world" else parent.world_ranks
        super().__init__(parent.rank, parent.size, world_ranks, parent.timeout)
        self._cupy, self._nccl = nccl_library.load()
        self._parent = parent
        self._reduction = reduction
        self._checks_calls = checks_calls
        # Calls that the device has not finished, each with the arrays it works on: CuPy would give the memory of a
        # source that nobody holds any more to the next allocation of the caller's stream, while NCCL still reads it.
        self._in_flight: deque[tuple[StreamWork[Any], Callable[[], Any]]] = deque()
        self._device = self._cupy.cuda.Device(device_index)
        self._device_index = device_index
        if reduction == "nccl":
            os.environ.setdefault("NCCL_ALGO", "Ring")
            os.environ.setdefault("NCCL_PROTO", "Simple")
        with self._device:
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
            unique_id = parent.broadcast_object(self._nccl.get_unique_id() if parent.rank == 0 else None)
            self._link = self._nccl.NcclCommunicator(parent.size, unique_id, parent.rank)

    @classmethod
    def detect(cls, group: Membership) -> str:
        return "" if group.device is None else f"its arrays are on cuda:{group.device}"

    @classmethod
    def join(cls, group: Membership) -> NcclCommunicator:
        assert group.beside is not None and group.device is not None
        return cls(group.beside, group.device)

    @property
    def on_hosts(self) -> Communicator:
        return self._parent

    def lane(self, name: str) -> Communicator:
        return self

    @property
    def place(self) -> str:
        return f"cuda:{self._device_index}"

    def algorithm(self, kind: str, nbytes: int) -> str:
        if self._reduction == "nccl" and kind in ("all_reduce", "all_reduce_many"):
            return "nccl_ring_simple"  # NCCL's own, which is no program of ours
        return super().algorithm(kind, nbytes)

    def abort(self, code: int = 1) -> None:
        self._parent.abort(code)

    def close(self, reason: str = "has closed this communicator") -> None:
        if self.is_inherited:
            return
        is_first = not self._is_closing
        try:
            super().close(reason)
        finally:
            if is_first and not self.is_broken:
                with self._device:
                    self._stream.synchronize()
                    self._in_flight.clear()
                    self._link.destroy()

    def _tell_broken(self, state: State, text: str) -> None:
        # The parent tells the others. What NCCL still has to do would wait for them, and use arrays that are gone.
        self._parent.break_off(state, text)
        with self._device:
            self._link.abort()
            self._in_flight.clear()

    # Python objects and messages take the parent's way

    def all_gather_object(self, value: Any) -> list[Any]:
        return self._parent.all_gather_object(value)

    def broadcast_object(self, value: Any = None, *, root: int = 0) -> Any:
        return self._parent.broadcast_object(value, root=root)

    def send_object(self, value: Any, *, destination: int, tag: int = 0) -> None:
        self._parent.send_object(value, destination=destination, tag=tag)

    def recv_object(self, *, source: int, tag: int = 0) -> Any:
        return self._parent.recv_object(source=source, tag=tag)

    def _send(self, array: Array, destination: int, tag: int) -> None:
        self._parent.send(self._cupy.asnumpy(array), destination=destination, tag=tag)

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array:
        received = self._parent.recv(source=source, tag=tag)
        with self._device:
            array: Array = self._cupy.asarray(received)
        return array

    def _gather_bytes(self, call_text: str, data: Array) -> list[Array]:
        self._agree(call_text)
        return [np.frombuffer(row, np.uint8) for row in self._parent.all_gather_object(data.tobytes())]

    def _split(self, groups: list[list[int]]) -> Communicator | None:
        # The ranks are sorted already; a color has to be a number that no other group of this call has.
        ranks = self._own_of(groups)
        child = self._parent.split(ranks[0] if ranks else None, ranks.index(self.rank) if ranks else 0)
        if child is None:
            return None
        return NcclCommunicator(child, self._device_index, reduction=self._reduction, checks_calls=self._checks_calls)

    # Collectives

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        return exchanges.program_of(kind, self.rank, self.size, nbytes, root=root)

    def _carry(
        self,
        kind: str,
        call_text: str,
        sources: list[Array],
        outs: list[Array],
        op: ReduceOp | Weighted | None = None,
        root: int = 0,
    ) -> None:
        self._agree(call_text)
        if kind == "all_reduce":
            assert op is not None
            self._all_reduce(sources, outs, op)
        else:
            assert not isinstance(op, Weighted)
            self._run(kind, sources[0], outs[0], op, root)

    def _all_reduce(self, sources: list[Array], outs: list[Array], op: ReduceOp | Weighted) -> None:
        if self._reduction == "nccl" and not isinstance(op, Weighted):
            self._reduce_by_nccl(sources, outs, op)
            return
        reduction = self._coefficients(op) if isinstance(op, Weighted) else op
        source, out = self._message(sources), self._message(outs, is_output=True)
        self._run("all_reduce", source, out, reduction, dtype=sources[0].dtype)
        if address_of(out) != address_of(outs[0]):
            offsets, _ = packed_offsets([piece.nbytes for piece in outs])
            for piece, offset in zip(outs, offsets, strict=True):
                piece.view(self._cupy.uint8)[...] = out[offset : offset + piece.nbytes]

    def _coefficients(self, op: Weighted) -> Array:
        """What each rank's part is multiplied with. It stays on the device, and the host never waits for it."""
        own = self._cupy.asarray(np.array([op.weight, op.count])) if op.pair is None else op.pair
        pairs = self._cupy.empty((self.size, 2), np.float64)
        self._link.allGather(address_of(own), address_of(pairs), own.nbytes, self._nccl.NCCL_INT8, self._stream.ptr)
        weights = pairs[:, 0].copy()
        if op.op == "mean":
            total = pairs[:, 1].sum()
            shrink = self._cupy.where(total == np.inf, 0.5 / self.size, 1.0)  # counts near the largest double
            weights, total = weights * shrink, (pairs[:, 1] * shrink).sum()
            weights = self._cupy.where(total > 0, weights / self._cupy.where(total > 0, total, 1.0), 1 / self.size)
        coefficients: Array = weights
        return coefficients

    def _message(self, pieces: list[Array], *, is_output: bool = False) -> Array:
        """The pieces as bytes of the canonical layout: where they are, if they lie like that, or in a new array."""
        packed = Packed(pieces)
        if packed.single is not None:
            return packed.single
        if packed.address() is not None and pieces[0].base is pieces[-1].base is not None:
            in_place: Array = self._cupy.ndarray((packed.nbytes,), self._cupy.uint8, memptr=pieces[0].data)
            return in_place
        message: Array = self._cupy.zeros(packed.nbytes, self._cupy.uint8)
        if not is_output:
            packed.read(0, message)
        return message

    def _reduce_by_nccl(self, sources: list[Array], outs: list[Array], op: ReduceOp) -> None:
        dtype = from_numpy(sources[0].dtype)
        if dtype.tag not in TYPES:
            raise DtypeError(
                expected("nccl all_reduce", "a dtype that NCCL adds", dtype.tag, 'use reduction="rank_order"')
            )
        nccl_type = getattr(self._nccl, TYPES[dtype.tag])
        nccl_op = getattr(self._nccl, (BOOL_OPS if dtype.tag == "bool" else OPS)[op])
        self._nccl.groupStart()
        for source, out in zip(sources, outs, strict=True):
            if source.size:
                self._link.allReduce(
                    address_of(source), address_of(out), source.size, nccl_type, nccl_op, self._stream.ptr
                )
        self._nccl.groupEnd()
        if op == "mean":
            for out in outs:
                self._cupy.divide(out, out.dtype.type(self.size), out=out)

    def _reduce(self, parts: list[Array], op: ReduceOp | Array, out: Array) -> None:
        from dtrain.kernels import Problem, choose

        device = as_device(f"cuda:{self._device_index}")
        part = tensor_type((1,), from_numpy(out.dtype), device=device)
        kernel = choose(Problem("rank_order_reduce", [part], [part]))
        attrs = {"op": op} if isinstance(op, str) else {"op": "weighted", "weights": op}
        kernel.function(*parts, out=out, **attrs)

    def _barrier(self, call_text: str) -> None:
        self._stream.synchronize()
        self._agree(call_text, always=True)

    # Programs of `exchanges`, whose messages leave and arrive where the arrays lie

    def _run(
        self,
        kind: str,
        source: Array,
        out: Array,
        op: ReduceOp | Array | None,
        root: int = 0,
        *,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        """Hand the steps of a kind of call to the stream; arrays that are only bytes have elements of `dtype`."""
        dtype, program = dtype or source.dtype, self._program(kind, source.nbytes, root)
        buffers = {"source": source.view(self._cupy.uint8), "out": out.view(self._cupy.uint8)}
        for name, nbytes in program.scratch.items():
            buffers[name] = self._cupy.empty(nbytes, self._cupy.uint8)

        def view(data: Slice) -> Array:
            part: Array = buffers[data.buffer][data.start : data.stop]
            return part

        for step in program.steps():
            match step:
                case Exchange():
                    self._exchange(step, view)
                case Reduce(parts, (target,)):
                    assert op is not None
                    self._reduce([view(part).view(dtype) for part in parts], op, view(target).view(dtype))
                case Copy(begin, end) if address_of(source) != address_of(out):
                    view(end)[...] = view(begin)

    def _exchange(self, exchange: Exchange, view: Callable[[Slice], Array]) -> None:
        """One call of NCCL where it has one for arrays as they lie; otherwise single messages, all at the same time."""
        if exchange.pattern == "broadcast":
            for peer, data in exchange.receives or exchange.sends[:1]:
                root, array = peer if exchange.receives else self.rank, view(data)
                pointer = address_of(array)
                self._link.broadcast(pointer, pointer, array.nbytes, self._nccl.NCCL_INT8, root, self._stream.ptr)
            return
        if exchange.pattern == "all_gather" and exchange.sends[0].data.buffer == "source":
            sent, received = view(exchange.sent.whole), view(exchange.received.whole)
            self._link.allGather(
                address_of(sent), address_of(received), sent.nbytes, self._nccl.NCCL_INT8, self._stream.ptr
            )
            return
        self._nccl.groupStart()
        for (rank, outgoing), (_, incoming) in zip(exchange.sends, exchange.receives, strict=True):
            if outgoing.nbytes:
                sent = view(outgoing)
                self._link.send(address_of(sent), sent.nbytes, self._nccl.NCCL_INT8, rank, self._stream.ptr)
            if incoming.nbytes:
                received = view(incoming)
                self._link.recv(address_of(received), received.nbytes, self._nccl.NCCL_INT8, rank, self._stream.ptr)
        self._nccl.groupEnd()

    def _agree(self, call_text: str, *, always: bool = False) -> None:
        """Compare the call on all ranks: a barrier of the parent under the name of this call."""
        if self._checks_calls or always:
            try:
                self._parent.meet(self._shown(call_text))
            except CollectiveMismatchError as error:
                raise self._agreed(error) from None

    # Arrays and streams

    def _check_array(self, where: str, array: Array) -> DType:
        if not isinstance(array, self._cupy.ndarray):
            error = DeviceError if isinstance(array, np.ndarray) else TypeError
            advice = "use the communicator of the hosts, or cupy.asarray"
            raise error(expected(where, "a CuPy array", type(array).__name__, advice))
        if array.device.id != self._device_index:
            raise DeviceError(
                expected(where, f"an array on cuda:{self._device_index}", f"cuda:{array.device.id}", "move it there")
            )
        return from_numpy(array.dtype)

    def _empty(self, shape: tuple[int, ...], like: Array) -> Array:
        with self._device:
            array: Array = self._cupy.empty(shape, like.dtype)
        return array

    def _allocate(self, call_text: str, nbytes: int) -> Array:
        self._agree(call_text, always=True)
        memory: Array | None = None
        trouble = ""
        try:
            memory = self._cupy.zeros(nbytes, self._cupy.uint8)
        except Exception as error:
            trouble = f"rank {self.world_ranks[self.rank]}: {error}"
        troubles = [text for text in self._parent.all_gather_object(trouble) if text]
        if memory is None or troubles:
            wanted = f"{nbytes} bytes on every rank's device"
            raise self._agreed(CollectiveError(expected("allocate", wanted, troubles[0], "ask for less")))
        return memory

    def _now(self, prepare: Prepare[Result]) -> Result:
        return self._later(prepare).wait()

    def _later(self, prepare: Prepare[Result]) -> Work[Result]:
        number = next(self._numbers)
        call = prepare()
        with self._device:
            begin = self._cupy.cuda.get_current_stream().record()
            self._stream.wait_event(begin)
            with self._stream:
                work = StreamWork(
                    lambda: self._carry_out(number, call), self._stream, self._cupy.cuda.get_current_stream
                )
        while self._in_flight and self._in_flight[0][0].is_completed():
            self._in_flight.popleft()
        self._in_flight.append((work, call))
        self._collectives.note_failure(work)
        return work
