"""What moves bytes under a communicator, and how arguments become calls to it.

A call is checked, worded for the agreement of all ranks, and counted in the caller's thread; what is left is a
function without arguments that `Communicator` carries out now or later. Subclasses implement the methods that move
flat, contiguous arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtrain.base.dtype import DType, DTypeLike, as_dtype, from_numpy
from dtrain.base.errors import CollectiveMismatchError, DeviceError, DtypeError, ShapeError, expected
from dtrain.collectives.communicator.call_text import call_text_of
from dtrain.collectives.communicator.counters import Counters
from dtrain.collectives.memory.overlap import Span, apart, may_overlap, output_spans, overlaps_itself
from dtrain.collectives.programs.program import Program
from dtrain.collectives.programs.rank_order import Array, ReduceOp, check_reduction
from dtrain.collectives.programs.weighing import Weight, weighted

MAX_TAG = 1 << 20  # no tag of a message is as large


class DataPlane(ABC):
    """The arrays' side of a group of ranks; `Communicator` is the users' side."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.counters = Counters()
        self.reason = ""  # why its ranks talk through this transport, for people
        self._call_text = ""  # the call under way, for errors

    @property
    @abstractmethod
    def group(self) -> str:
        """The same text on every member."""

    # What a subclass does. Arrays are flat and contiguous; `call_text` is what all ranks have to agree on.

    @abstractmethod
    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        """What this rank does for a call of `kind` with `nbytes` bytes per rank."""

    @abstractmethod
    def _carry(
        self, kind: str, call_text: str, sources: list[Array], outs: list[Array], op: Any = None, root: int = 0
    ) -> None:
        """Carry out a call of `kind`: all_reduce, of as many outs as sources, or another of one source and one out.

        Args:
            op: the reduction of all_reduce and reduce_scatter; `Weighted` until all ranks have shown their weights.
            root: of broadcast.
        """

    @abstractmethod
    def _barrier(self, call_text: str) -> None: ...

    @abstractmethod
    def _send(self, array: Array, destination: int, tag: int) -> None: ...

    @abstractmethod
    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array: ...

    # Which arrays this communicator takes; overridden where they live on a device.

    def _check_array(self, where: str, array: Array) -> DType:
        if isinstance(array, np.ndarray):
            if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
                advice = "fill what is masked: array.filled(0)"
                raise TypeError(expected(where, "an array in which every element counts", "a masked one", advice))
            return from_numpy(array.dtype)
        if hasattr(array, "__cuda_array_interface__"):
            raise DeviceError(
                expected(where, "a NumPy array", "an array on a CUDA device", "use the nccl communicator of this group")
            )
        raise TypeError(expected(where, "a NumPy array", type(array).__name__, "convert it with numpy.asarray"))

    def _empty(self, shape: tuple[int, ...], like: Array) -> Array:
        return np.empty(shape, like.dtype)

    # From arguments to calls

    def _all_reduce_call(
        self,
        kind: str,
        arrays: Sequence[Array],
        op: str,
        outs: Sequence[Array | None] | None,
        weight: Weight | None = None,
    ) -> Callable[[], list[Array]]:
        outs = [None] * len(arrays) if outs is None else outs
        if len(outs) != len(arrays):
            raise ShapeError(expected(kind, f"as many outs as arrays ({len(arrays)})", f"{len(outs)}"))
        dtype = self._common_dtype(kind, arrays)
        reduction: Any = check_reduction(kind, op, dtype)
        if weight is not None:
            reduction, op = weighted(kind, op, dtype, weight), f"weighted_{op}"
        results = [self._result(kind, array, array.shape, out) for array, out in zip(arrays, outs, strict=True)]
        spans: list[Span | None] | None = None
        if outs[0] is not None and (len(outs) > 1 or (outs[0] is not arrays[0] and may_overlap(arrays[0], outs[0]))):
            spans = output_spans(kind, results)
        call_text = call_text_of(kind, dtype.tag, tuple([array.shape for array in arrays]), op)
        self.counters.add(kind, sum([array.nbytes for array in arrays]))

        def call() -> list[Array]:
            self._call_text = call_text
            flat, sources = [_flat(result) for result in results], [_flat(array) for array in arrays]
            if spans is not None:
                sources = apart(sources, spans, own=spans)
            self._carry("all_reduce", call_text, sources, flat, reduction)
            return [_finished(result, target) for result, target in zip(results, flat, strict=True)]

        return call

    def _common_dtype(self, kind: str, arrays: Sequence[Array]) -> DType:
        if len(arrays) == 1:
            return self._check_array(kind, arrays[0])
        dtypes = {self._check_array(kind, array) for array in arrays}
        if len(dtypes) != 1:
            given = ", ".join(sorted(dtype.tag for dtype in dtypes)) or "no arrays"
            raise DtypeError(expected(kind, "arrays of one dtype", given, "make one call per dtype"))
        return dtypes.pop()

    def _reduce_scatter_call(self, array: Array, op: str, out: Array | None) -> Callable[[], Array]:
        dtype = self._check_array("reduce_scatter", array)
        checked_op = check_reduction("reduce_scatter", op, dtype)
        rows = self._rows_per_rank("reduce_scatter", array)
        call_text = call_text_of("reduce_scatter", dtype.tag, (array.shape,), op)
        return self._simple_call("reduce_scatter", call_text, array, (rows, *array.shape[1:]), out, op=checked_op)

    def _all_gather_call(self, array: Array, out: Array | None) -> Callable[[], Array]:
        call_text = call_text_of("all_gather", self._check_array("all_gather", array).tag, (array.shape,))
        shape = (self.size, *array.shape)

        def own_part(out: Span) -> Span:
            begin = out[0] + self.rank * array.nbytes
            return begin, begin + array.nbytes

        return self._simple_call("all_gather", call_text, array, shape, out, own_part=own_part)

    def _broadcast_call(self, array: Array, root: int, out: Array | None) -> Callable[[], Array]:
        self._check_rank("broadcast", "root", root)
        call_text = call_text_of("broadcast", self._check_array("broadcast", array).tag, (array.shape,), root=root)
        return self._simple_call("broadcast", call_text, array, array.shape, out, root=root, own_part=lambda out: out)

    def _all_to_all_call(self, array: Array, out: Array | None) -> Callable[[], Array]:
        dtype = self._check_array("all_to_all", array)
        self._rows_per_rank("all_to_all", array)
        call_text = call_text_of("all_to_all", dtype.tag, (array.shape,))
        return self._simple_call("all_to_all", call_text, array, array.shape, out)

    def _simple_call(
        self,
        kind: str,
        call_text: str,
        array: Array,
        shape: tuple[int, ...],
        out: Array | None,
        *,
        op: ReduceOp | None = None,
        root: int = 0,
        own_part: Callable[[Span], Span | None] = lambda out: None,
    ) -> Callable[[], Array]:
        result = self._result(kind, array, shape, out)
        span = output_spans(kind, [out])[0] if out is not None and may_overlap(array, out) else None
        self.counters.add(kind, array.nbytes)

        def call() -> Array:
            self._call_text = call_text
            source, target = _flat(array), _flat(result)
            if span is not None:
                (source,) = apart([source], [span], own=[own_part(span)])
            self._carry(kind, call_text, [source], [target], op, root)
            return _finished(result, target)

        return call

    def _send_call(self, array: Array, destination: int, tag: int) -> Callable[[], None]:
        self._check_array("send", array)
        self._check_rank("send", "destination", destination)
        check_tag("send", tag)
        self.counters.add("send", array.nbytes)
        return lambda: self._send(array, destination, tag)

    def _recv_call(
        self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DTypeLike | None, out: Array | None
    ) -> Callable[[], Array]:
        self._check_rank("recv", "source", source)
        check_tag("recv", tag)
        wanted = None if dtype is None else as_dtype(dtype)
        if out is not None:
            wanted, shape = self._check_array("recv", out), out.shape
            check_writable("recv", out)

        def call() -> Array:
            array = self._recv(source, tag, shape, wanted)
            if (shape is not None and array.shape != shape) or (wanted is not None and array.dtype != wanted.numpy):
                raise CollectiveMismatchError(
                    expected(
                        f"recv from rank {source} with tag {tag} in group {self.group!r}",
                        f"{wanted.tag if wanted else 'any dtype'} {shape if shape is not None else 'of any shape'}",
                        f"{from_numpy(array.dtype).tag} {array.shape}",
                        "make both sides name the same shape and dtype",
                    )
                )
            self.counters.add("recv", array.nbytes)
            if out is None:
                return array
            out[...] = array
            return out

        return call

    def _result(self, kind: str, array: Array, shape: tuple[int, ...], out: Array | None) -> Array:
        if out is None:
            return self._empty(shape, array)
        if type(out) is not type(array):
            self._check_array(kind, out)
        if out.shape != shape or out.dtype != array.dtype:
            raise ShapeError(expected(kind, f"out of {array.dtype} {shape}", f"{out.dtype} {out.shape}"))
        check_writable(kind, out)
        return out

    def _rows_per_rank(self, kind: str, array: Array) -> int:
        if array.ndim == 0 or array.shape[0] % self.size:
            raise ShapeError(
                expected(kind, f"axis 0 to be divisible by {self.size} ranks", f"shape {array.shape}", "pad axis 0")
            )
        return int(array.shape[0]) // self.size

    def _check_rank(self, kind: str, name: str, rank: int) -> None:
        if not isinstance(rank, (int, np.integer)):
            raise TypeError(expected(kind, f"{name} to be a whole number", repr(rank)))
        if not 0 <= rank < self.size:
            raise ValueError(expected(kind, f"{name} to be a rank of {self.group!r}, 0..{self.size - 1}", str(rank)))


def check_tag(where: str, tag: int) -> None:
    """Raise an error for a tag that no message can have, whatever carries it."""
    if not isinstance(tag, (int, np.integer)):
        raise TypeError(expected(where, "a tag that is a whole number", repr(tag)))
    if not 0 <= tag < MAX_TAG:
        raise ValueError(expected(where, f"a tag in 0..{MAX_TAG - 1}", str(tag)))


def check_writable(kind: str, out: Array) -> None:
    """Raise `ValueError` if no result can be written to `out`. CuPy has no read-only arrays."""
    if not getattr(out.flags, "writeable", True):
        raise ValueError(expected(kind, "an out that can be written to", "a read-only array", "copy it first"))
    if overlaps_itself(out):
        given = "one whose elements share memory, as those of a broadcast view do"
        raise ValueError(expected(kind, "an out with memory for each element", given, "copy it first"))


def _flat(array: Array) -> Array:
    """The elements on one axis, contiguous; a copy only where they are not. NumPy and CuPy alike."""
    return array.reshape(-1) if array.flags.c_contiguous else array.flatten()


def _finished(result: Array, flat: Array) -> Array:
    """`result`, with what was written to `flat = _flat(result)` if that is a copy."""
    if not result.flags.c_contiguous:
        result[...] = flat.reshape(result.shape)
    return result
