"""The contract of all communicators: how a group of ranks exchanges arrays.

`Communicator` checks arguments, words the call for the agreement of all ranks, counts it and keeps calls in order;
subclasses move the bytes of flat, contiguous arrays (the methods with a leading underscore). Results are new arrays
unless `out` is given; `out` may be the input. Everything here is collective: all ranks of the group make the same
calls in the same order.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from dtrain.base.dtype import DType, DTypeLike, as_dtype, from_numpy
from dtrain.base.errors import CollectiveMismatchError, DeviceError, ShapeError, expected
from dtrain.collectives.counters import Counters
from dtrain.collectives.objects import from_bytes, padded, to_bytes
from dtrain.collectives.rank_order import Array, check_reduction
from dtrain.collectives.signature import compact, signature
from dtrain.collectives.work import Work, WorkQueue

Result = TypeVar("Result")

TIMEOUT_VARIABLE = "DTRAIN_COLLECTIVE_TIMEOUT"
DEFAULT_TIMEOUT = 1800.0


def default_timeout() -> float:
    """Seconds a collective waits for its peers: DTRAIN_COLLECTIVE_TIMEOUT, or 1800."""
    given = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(given) if given else DEFAULT_TIMEOUT
    except ValueError:
        seconds = -1.0
    if seconds <= 0:
        raise ValueError(expected(TIMEOUT_VARIABLE, "a number of seconds above 0", repr(given)))
    return seconds


class Communicator(ABC):
    """A group of ranks.

    Attributes:
        rank: this rank's number in the group, 0 ≤ rank < size.
        size: ranks in the group.
        world_ranks: the members' ranks in the world, in the group's order.
        counters: calls and bytes per kind of collective.
        timeout: seconds that a collective waits for its peers before it raises.
    """

    name: ClassVar[str]

    def __init__(self, rank: int, size: int, world_ranks: Sequence[int], timeout: float | None = None) -> None:
        self.rank = rank
        self.size = size
        self.world_ranks = tuple(world_ranks)
        self.counters = Counters()
        self.timeout = default_timeout() if timeout is None else timeout
        self.groups: dict[str, Communicator] = {}
        self._is_world = self.world_ranks == tuple(range(size))
        self._collectives = WorkQueue(f"collectives of {self.group}")
        self._inboxes: dict[tuple[int, int], WorkQueue] = {}

    @property
    def group(self) -> str:
        """The same text on every member: "world", or "world/" and the members' world ranks, as in "world/0,2"."""
        return "world" if self._is_world else "world/" + compact(self.world_ranks)

    # Reductions

    def all_reduce(self, array: Array, *, op: str = "sum", out: Array | None = None) -> Array:
        """Reduce `array` over the ranks; every rank gets the result, bit for bit the same.

        Args:
            array: any shape, the same on every rank.
            op: sum, mean (floating dtypes only), min, max or prod.
            out: where to put the result; same shape and dtype as `array`, which it may be.

        Raises:
            CollectiveMismatchError: on every rank, if ranks made different calls.
        """
        return self._now(self._all_reduce_call("all_reduce", [array], op, [out]))[0]

    def all_reduce_async(self, array: Array, *, op: str = "sum", out: Array | None = None) -> Work[Array]:
        """`all_reduce` that returns at once; leave `array` and `out` alone until the work is waited for."""
        call = self._all_reduce_call("all_reduce", [array], op, [out])
        return self._later(lambda: call()[0])

    def all_reduce_many(
        self, arrays: Sequence[Array], *, op: str = "sum", outs: Sequence[Array] | None = None
    ) -> list[Array]:
        """`all_reduce` of several arrays of one dtype in one message.

        Arrays that are neighbours in one buffer, each at a multiple of 64 bytes (`packed_offsets`), are not copied
        together first; if the buffer is from `allocate`, they are not copied at all. Results do not depend on it.
        """
        return self._now(self._all_reduce_call("all_reduce_many", arrays, op, outs))

    def all_reduce_many_async(
        self, arrays: Sequence[Array], *, op: str = "sum", outs: Sequence[Array] | None = None
    ) -> Work[list[Array]]:
        """`all_reduce_many` that returns at once."""
        return self._later(self._all_reduce_call("all_reduce_many", arrays, op, outs))

    def reduce_scatter(self, array: Array, *, op: str = "sum", out: Array | None = None) -> Array:
        """Reduce over the ranks and keep one slice each: rank r gets rows [r·k, (r+1)·k) of the reduced array.

        Args:
            array: (size·k, …).
            op: as in `all_reduce`.
            out: (k, …).
        """
        return self._now(self._reduce_scatter_call(array, op, out))

    def reduce_scatter_async(self, array: Array, *, op: str = "sum", out: Array | None = None) -> Work[Array]:
        """`reduce_scatter` that returns at once."""
        return self._later(self._reduce_scatter_call(array, op, out))

    # Exchanges

    def all_gather(self, array: Array, *, out: Array | None = None) -> Array:
        """Stack every rank's array on a new leading axis: (…) becomes (size, …), in rank order."""
        return self._now(self._all_gather_call(array, out))

    def all_gather_async(self, array: Array, *, out: Array | None = None) -> Work[Array]:
        """`all_gather` that returns at once."""
        return self._later(self._all_gather_call(array, out))

    def broadcast(self, array: Array, *, root: int = 0, out: Array | None = None) -> Array:
        """Give every rank the root's array. `array` has the same shape and dtype everywhere; the root's counts."""
        return self._now(self._broadcast_call(array, root, out))

    def broadcast_async(self, array: Array, *, root: int = 0, out: Array | None = None) -> Work[Array]:
        """`broadcast` that returns at once."""
        return self._later(self._broadcast_call(array, root, out))

    def all_to_all(self, array: Array, *, out: Array | None = None) -> Array:
        """Exchange blocks: block r of `array` (size·k, …) goes to rank r; block r of the result came from rank r."""
        return self._now(self._all_to_all_call(array, out))

    def all_to_all_async(self, array: Array, *, out: Array | None = None) -> Work[Array]:
        """`all_to_all` that returns at once."""
        return self._later(self._all_to_all_call(array, out))

    def barrier(self) -> None:
        """Return once every rank has come here."""
        self.counters.add("barrier", 0)
        self._now(lambda: self._barrier(signature("barrier")))

    def meet(self, text: str) -> None:
        """A barrier that all ranks must reach with the same `text`; it is not counted.

        Raises:
            CollectiveMismatchError: on every rank, with all texts, if they differ.
        """
        self._now(lambda: self._barrier(text))

    # From one rank to another

    def send(self, array: Array, *, destination: int, tag: int = 0) -> None:
        """Send `array` to one rank. Returns as soon as `array` may be changed, whether or not it was received."""
        self._send_call(array, destination, tag)()

    def send_async(self, array: Array, *, destination: int, tag: int = 0) -> Work[None]:
        """`send` as a `Work`, for symmetry: sending never waits, so it is done before this returns."""
        work = Work(self._send_call(array, destination, tag))
        work.carry_out()
        return work

    def recv(
        self,
        *,
        source: int,
        tag: int = 0,
        shape: tuple[int, ...] | None = None,
        dtype: DTypeLike | None = None,
        out: Array | None = None,
    ) -> Array:
        """Receive the next array with this tag from one rank.

        Args:
            shape, dtype: what the array must be; None takes what comes, where the communicator can know it.
            out: where to put it; fixes shape and dtype.

        Raises:
            CollectiveMismatchError: what came is not what was expected.
        """
        return self._recv_call(source, tag, shape, dtype, out)()

    def recv_async(
        self,
        *,
        source: int,
        tag: int = 0,
        shape: tuple[int, ...] | None = None,
        dtype: DTypeLike | None = None,
        out: Array | None = None,
    ) -> Work[Array]:
        """`recv` that returns at once. Letters of one source and tag arrive in order, others when they come."""
        call = self._recv_call(source, tag, shape, dtype, out)
        if (source, tag) not in self._inboxes:
            self._inboxes[source, tag] = WorkQueue(f"letters from rank {source} with tag {tag} of {self.group}")
        return self._inboxes[source, tag].submit(call)

    # Python objects

    def all_gather_object(self, value: Any) -> list[Any]:
        """Every rank's object, in rank order, on every rank."""
        data = to_bytes(value)
        text = signature("all_gather_object")
        self.counters.add("all_gather_object", data.size)

        def call() -> list[Any]:
            lengths = np.empty(self.size, np.int64)
            self._all_gather(text, np.array([data.size], np.int64), lengths)
            everyone = np.empty(self.size * int(lengths.max()), np.uint8)
            self._all_gather(text, padded(data, int(lengths.max())), everyone)
            rows = everyone.reshape(self.size, -1)
            return [from_bytes(row[:length]) for row, length in zip(rows, lengths, strict=True)]

        return self._now(call)

    def broadcast_object(self, value: Any = None, *, root: int = 0) -> Any:
        """The root's object on every rank; nobody looks at the others' `value`."""
        self._check_rank("broadcast_object", "root", root)
        data = to_bytes(value) if self.rank == root else np.empty(0, np.uint8)
        text = signature("broadcast_object", root=root)
        self.counters.add("broadcast_object", data.size)

        def call() -> Any:
            length = np.array([data.size], np.int64)
            self._broadcast(text, length, length, root)
            received = data.copy() if self.rank == root else np.empty(int(length[0]), np.uint8)
            self._broadcast(text, received, received, root)
            return value if self.rank == root else from_bytes(received)

        return self._now(call)

    def send_object(self, value: Any, *, destination: int, tag: int = 0) -> None:
        """Send an object to one rank."""
        self.send(to_bytes(value), destination=destination, tag=tag)

    def recv_object(self, *, source: int, tag: int = 0) -> Any:
        """Receive the next object with this tag from one rank."""
        return from_bytes(self.recv(source=source, tag=tag, dtype=np.uint8))

    # The group itself

    def split(self, color: int | None, key: int | None = None) -> Communicator | None:
        """Make a group of all ranks that give the same `color`, ordered by `key`, then by rank.

        Returns:
            The new group, or None where `color` is None.
        """
        everyone: list[tuple[int | None, int]] = self.all_gather_object((color, self.rank if key is None else key))
        members = sorted(
            (other_key, rank)
            for rank, (other, other_key) in enumerate(everyone)
            if other == color and color is not None
        )
        ranks = [rank for _, rank in members]
        child = self._now(lambda: self._split(ranks))
        if child is not None:
            child.timeout = self.timeout
            child.groups = self.groups
            self.groups[child.group] = child
        return child

    def allocate(self, nbytes: int) -> Array:
        """Bytes in which collectives need no copies (collective; 64-byte aligned; zero-filled).

        Where a communicator has no such memory this is ordinary memory.
        """
        return self._now(lambda: self._allocate(nbytes))

    @abstractmethod
    def algorithm(self, kind: str, nbytes: int) -> str:
        """The name of the algorithm that carries out a call of `kind` with `nbytes` bytes per rank."""

    @abstractmethod
    def abort(self, code: int = 1) -> None:
        """End the whole job now, with exit code `code`, whatever the other ranks are doing."""

    def close(self) -> None:
        """Finish pending work and give resources back."""
        for inbox in self._inboxes.values():
            inbox.close()
        self._collectives.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group!r} rank {self.rank}/{self.size}>"

    # What a subclass does. Arrays are flat and contiguous; `text` is what all ranks have to agree on.

    @abstractmethod
    def _all_reduce(self, text: str, sources: list[Array], outs: list[Array], op: Any) -> None: ...

    @abstractmethod
    def _reduce_scatter(self, text: str, source: Array, out: Array, op: Any) -> None: ...

    @abstractmethod
    def _all_gather(self, text: str, source: Array, out: Array) -> None: ...

    @abstractmethod
    def _broadcast(self, text: str, source: Array, out: Array, root: int) -> None: ...

    @abstractmethod
    def _all_to_all(self, text: str, source: Array, out: Array) -> None: ...

    @abstractmethod
    def _barrier(self, text: str) -> None: ...

    @abstractmethod
    def _send(self, array: Array, destination: int, tag: int) -> None: ...

    @abstractmethod
    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array: ...

    @abstractmethod
    def _split(self, ranks: list[int]) -> Communicator | None:
        """The group of these ranks of this group; an empty list where this rank is in none."""

    def _allocate(self, nbytes: int) -> Array:
        storage = np.zeros(nbytes + 64, np.uint8)
        first = -storage.ctypes.data % 64
        return storage[first : first + nbytes]

    # Which arrays this communicator takes; overridden where they live on a device.

    def _check_array(self, where: str, array: Array) -> DType:
        if isinstance(array, np.ndarray):
            return from_numpy(array.dtype)
        if hasattr(array, "__cuda_array_interface__"):
            raise DeviceError(
                expected(where, "a NumPy array", "an array on a CUDA device", "use the nccl communicator of this group")
            )
        raise TypeError(expected(where, "a NumPy array", type(array).__name__, "convert it with numpy.asarray"))

    def _empty(self, shape: tuple[int, ...], like: Array) -> Array:
        return np.empty(shape, like.dtype)

    # From arguments to calls

    def _now(self, call: Callable[[], Result]) -> Result:
        return self._collectives.run(call)

    def _later(self, call: Callable[[], Result]) -> Work[Result]:
        return self._collectives.submit(call)

    def _all_reduce_call(
        self, kind: str, arrays: Sequence[Array], op: str, outs: Sequence[Array | None] | None
    ) -> Callable[[], list[Array]]:
        outs = [None] * len(arrays) if outs is None else outs
        if len(outs) != len(arrays):
            raise ShapeError(expected(kind, f"as many outs as arrays ({len(arrays)})", f"{len(outs)}"))
        dtypes = {self._check_array(kind, array) for array in arrays}
        if len(dtypes) != 1:
            given = ", ".join(sorted(dtype.tag for dtype in dtypes)) or "no arrays"
            raise TypeError(expected(kind, "arrays of one dtype", given, "make one call per dtype"))
        dtype = dtypes.pop()
        checked_op = check_reduction(kind, op, dtype)
        results = [self._result(kind, array, array.shape, out) for array, out in zip(arrays, outs, strict=True)]
        text = signature(kind, dtype.tag, tuple(array.shape for array in arrays), op)
        self.counters.add(kind, sum(array.nbytes for array in arrays))

        def call() -> list[Array]:
            targets = [_Target(result) for result in results]
            self._all_reduce(text, [_flat(array) for array in arrays], [t.flat for t in targets], checked_op)
            return [target.finish() for target in targets]

        return call

    def _reduce_scatter_call(self, array: Array, op: str, out: Array | None) -> Callable[[], Array]:
        dtype = self._check_array("reduce_scatter", array)
        checked_op = check_reduction("reduce_scatter", op, dtype)
        rows = self._rows_per_rank("reduce_scatter", array)
        text = signature("reduce_scatter", dtype.tag, (array.shape,), op)
        shape = (rows, *array.shape[1:])
        return self._simple_call(
            "reduce_scatter", array, shape, out, lambda source, to: self._reduce_scatter(text, source, to, checked_op)
        )

    def _all_gather_call(self, array: Array, out: Array | None) -> Callable[[], Array]:
        text = signature("all_gather", self._check_array("all_gather", array).tag, (array.shape,))
        shape = (self.size, *array.shape)
        return self._simple_call("all_gather", array, shape, out, lambda source, to: self._all_gather(text, source, to))

    def _broadcast_call(self, array: Array, root: int, out: Array | None) -> Callable[[], Array]:
        self._check_rank("broadcast", "root", root)
        text = signature("broadcast", self._check_array("broadcast", array).tag, (array.shape,), root=root)
        return self._simple_call(
            "broadcast", array, array.shape, out, lambda source, to: self._broadcast(text, source, to, root)
        )

    def _all_to_all_call(self, array: Array, out: Array | None) -> Callable[[], Array]:
        dtype = self._check_array("all_to_all", array)
        self._rows_per_rank("all_to_all", array)
        text = signature("all_to_all", dtype.tag, (array.shape,))
        return self._simple_call(
            "all_to_all", array, array.shape, out, lambda source, to: self._all_to_all(text, source, to)
        )

    def _simple_call(
        self, kind: str, array: Array, shape: tuple[int, ...], out: Array | None, move: Callable[[Array, Array], None]
    ) -> Callable[[], Array]:
        result = self._result(kind, array, shape, out)
        self.counters.add(kind, array.nbytes)

        def call() -> Array:
            target = _Target(result)
            move(_flat(array), target.flat)
            return target.finish()

        return call

    def _send_call(self, array: Array, destination: int, tag: int) -> Callable[[], None]:
        self._check_array("send", array)
        self._check_rank("send", "destination", destination)
        self.counters.add("send", array.nbytes)
        return lambda: self._send(array, destination, tag)

    def _recv_call(
        self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DTypeLike | None, out: Array | None
    ) -> Callable[[], Array]:
        self._check_rank("recv", "source", source)
        wanted = None if dtype is None else as_dtype(dtype)
        if out is not None:
            wanted, shape = self._check_array("recv", out), out.shape

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
        if out.shape != shape or out.dtype != array.dtype:
            raise ShapeError(expected(kind, f"out of {array.dtype} {shape}", f"{out.dtype} {out.shape}"))
        return out

    def _rows_per_rank(self, kind: str, array: Array) -> int:
        if array.ndim == 0 or array.shape[0] % self.size:
            raise ShapeError(
                expected(kind, f"axis 0 to be divisible by {self.size} ranks", f"shape {array.shape}", "pad axis 0")
            )
        return int(array.shape[0]) // self.size

    def _check_rank(self, kind: str, name: str, rank: int) -> None:
        if not 0 <= rank < self.size:
            raise ValueError(expected(kind, f"{name} to be a rank of {self.group!r}, 0..{self.size - 1}", str(rank)))


def _flat(array: Array) -> Array:
    """The elements on one axis, contiguous; a copy only where they are not. NumPy and CuPy alike."""
    return array.reshape(-1) if array.flags.c_contiguous else array.flatten()


class _Target:
    """A result as the flat contiguous array that subclasses write to."""

    def __init__(self, result: Array) -> None:
        self._result = result
        self._in_place = bool(result.flags.c_contiguous)
        self.flat = _flat(result)

    def finish(self) -> Array:
        if not self._in_place:
            self._result[...] = self.flat.reshape(self._result.shape)
        return self._result
