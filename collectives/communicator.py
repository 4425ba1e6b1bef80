"""The contract of all communicators: how a group of ranks exchanges arrays.

`Communicator` is what users call and what keeps calls in order; `DataPlane`, its base, checks arguments and names what
a subclass has to do. Results are new arrays unless `out` is given; `out` may be the input. Everything here but letters
is collective: all ranks of the group make the same calls in the same order.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from dtrain.base.dtype import DTypeLike
from dtrain.base.errors import expected
from dtrain.collectives.data_plane import DataPlane
from dtrain.collectives.objects import from_bytes, padded, to_bytes
from dtrain.collectives.rank_order import Array
from dtrain.collectives.signature import compact, signature
from dtrain.collectives.weighing import Weight
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


class Communicator(DataPlane):
    """A group of ranks.

    Attributes:
        rank: this rank's number in the group, 0 ≤ rank < size.
        size: ranks in the group.
        world_ranks: the members' ranks in the world, in the group's order.
        counters: calls and bytes per kind of collective.
        timeout: seconds that a collective waits for its peers before it raises.
    """

    name: ClassVar[str]

    def __init__(
        self, rank: int, size: int, world_ranks: Sequence[int] | None = None, timeout: float | None = None
    ) -> None:
        """`world_ranks` is None in the world itself, and only there."""
        super().__init__(rank, size)
        self.world_ranks = tuple(range(size) if world_ranks is None else world_ranks)
        self.timeout = default_timeout() if timeout is None else timeout
        self.groups: dict[str, Communicator] = {}
        self._is_world = world_ranks is None
        self._collectives = WorkQueue(f"collectives of {self.group}")
        self._inboxes: dict[tuple[int, int], WorkQueue] = {}

    @property
    def group(self) -> str:
        """The same text on every member: "world", or "world/" and the members' world ranks, as in "world/0,2"."""
        return "world" if self._is_world else "world/" + compact(self.world_ranks)

    # Reductions

    def all_reduce(
        self, array: Array, *, op: str = "sum", out: Array | None = None, weight: Weight | None = None
    ) -> Array:
        """Reduce `array` over the ranks; every rank gets the result, bit for bit the same.

        Args:
            array: any shape, the same on every rank.
            op: sum, mean (floating dtypes only), min, max or prod.
            out: where to put the result; same shape and dtype as `array`, which it may be.
            weight: how much this rank's array counts in a sum or mean of floats: Σ w·x, and Σ w·x / Σ w. At weight 0
                the array is not read; where all weights are 0 the mean is a plain one. Every rank gives a weight or
                none does. A pair (w, n) makes the mean Σ w·x / Σ n.

        Raises:
            CollectiveMismatchError: on every rank, if ranks made different calls.
        """
        return self._now(self._all_reduce_call("all_reduce", [array], op, [out], weight))[0]

    def all_reduce_async(
        self, array: Array, *, op: str = "sum", out: Array | None = None, weight: Weight | None = None
    ) -> Work[Array]:
        """`all_reduce` that returns at once; leave `array` and `out` alone until the work is waited for."""
        call = self._all_reduce_call("all_reduce", [array], op, [out], weight)
        return self._later(lambda: call()[0])

    def all_reduce_many(
        self,
        arrays: Sequence[Array],
        *,
        op: str = "sum",
        outs: Sequence[Array] | None = None,
        weight: Weight | None = None,
    ) -> list[Array]:
        """`all_reduce` of several arrays of one dtype in one message.

        Arrays that are neighbours in one buffer, each at a multiple of 64 bytes (`packed_offsets`), are not copied
        together first; if the buffer is from `allocate`, they are not copied at all. Results do not depend on it.
        """
        return self._now(self._all_reduce_call("all_reduce_many", arrays, op, outs, weight))

    def all_reduce_many_async(
        self,
        arrays: Sequence[Array],
        *,
        op: str = "sum",
        outs: Sequence[Array] | None = None,
        weight: Weight | None = None,
    ) -> Work[list[Array]]:
        """`all_reduce_many` that returns at once."""
        return self._later(self._all_reduce_call("all_reduce_many", arrays, op, outs, weight))

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

    @abstractmethod
    def _split(self, ranks: list[int]) -> Communicator | None:
        """The group of these ranks of this group; an empty list where this rank is in none."""

    def _allocate(self, nbytes: int) -> Array:
        storage = np.zeros(nbytes + 64, np.uint8)
        first = -storage.ctypes.data % 64
        return storage[first : first + nbytes]

    def _now(self, call: Callable[[], Result]) -> Result:
        return self._collectives.run(call)

    def _later(self, call: Callable[[], Result]) -> Work[Result]:
        return self._collectives.submit(call)
