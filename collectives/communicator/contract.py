"""The contract of all communicators: how a group of ranks exchanges arrays.

`Communicator` is what users call. Of its bases `DataPlane` checks arguments and names what a subclass has to do,
`OrderedCalls` keeps calls in order on all ranks, and `GroupCalls` makes groups and memory. Results are new arrays
unless `out` is given, which may share memory with the input. Everything here but messages is collective: all ranks of
the group make the same calls in the same order. Once a call has ended half-way on any rank, all ranks raise.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import numpy as np

from dtrain.base.dtype import DTypeLike
from dtrain.base.errors import CollectiveError, expected
from dtrain.collectives.communicator.call_text import call_text_of, compact
from dtrain.collectives.communicator.group_calls import GroupCalls
from dtrain.collectives.communicator.objects import from_bytes, to_bytes
from dtrain.collectives.communicator.ordered_calls import Prepare
from dtrain.collectives.communicator.work import Work, WorkQueue
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.programs.weighing import Weight

Result = TypeVar("Result")

TIMEOUT_VARIABLE = "DTRAIN_COLLECTIVE_TIMEOUT"
DEFAULT_TIMEOUT = 1800.0
MAX_RECEIVE_QUEUES = 64  # before those that nobody waits at are given up
LONGEST_TIMEOUT = 1e9  # Python's locks take no more


def default_timeout() -> float:
    """Seconds a collective waits for its peers: DTRAIN_COLLECTIVE_TIMEOUT, or 1800."""
    given = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        return checked_timeout(TIMEOUT_VARIABLE, float(given) if given else DEFAULT_TIMEOUT)
    except ValueError:
        raise ValueError(expected(TIMEOUT_VARIABLE, "a number of seconds above 0", repr(given))) from None


def checked_timeout(where: str, given: Any) -> float:
    """Seconds to wait, from a number or a timedelta; those that nobody lives to see are as good as none."""
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.number)) or not seconds > 0:
        raise ValueError(expected(where, "a number of seconds above 0, or a timedelta", repr(given)))
    return min(float(seconds), LONGEST_TIMEOUT)


class Communicator(GroupCalls):
    """A group of ranks.

    Attributes:
        rank: this rank's number in the group, 0 ≤ rank < size.
        size: ranks in the group.
        world_ranks: the members' ranks in the world, in the group's order.
        counters: calls and bytes per kind of collective.
        timeout: seconds that a collective waits for its peers before it raises; may be set.
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
        self.family: list[Communicator] = [self]  # the world and all groups that came of it and are open
        self._is_world = world_ranks is None
        self._number_of_name = 1  # of the groups that have the same members
        self._names_given: Counter[str] = Counter()
        self._is_closing = False
        self._lane = ""  # the text of a lane
        self._collectives.name = f"collectives of {self.group}"
        self._receive_queues: dict[tuple[int, int], WorkQueue] = {}

    @property
    def timeout(self) -> float:
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | timedelta) -> None:
        self._timeout = checked_timeout("timeout of a communicator", seconds)

    @property
    def group(self) -> str:
        """The same text on every member: "world", or "world/" and the members' world ranks, as in "world/0,2".

        The second group of the same members is "world/0,2#2", a lane of the world "world statistics".
        """
        if self._lane:
            return self._lane
        number = "" if self._number_of_name == 1 else f"#{self._number_of_name}"
        return "world" if self._is_world else f"world/{compact(self.world_ranks)}{number}"

    @property
    def place(self) -> str:
        """Where its arrays are, as far as it matters to this rank."""
        return "its host"

    @property
    def on_hosts(self) -> Communicator:
        """The communicator of the same ranks for arrays of their hosts, under whose text the group is known."""
        return self

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
        return self._now(lambda: self._all_reduce_call("all_reduce", [array], op, [out], weight))[0]

    def all_reduce_async(
        self, array: Array, *, op: str = "sum", out: Array | None = None, weight: Weight | None = None
    ) -> Work[Array]:
        """`all_reduce` that returns at once; leave `array` and `out` alone until the work is waited for."""

        def prepare() -> Callable[[], Array]:
            call = self._all_reduce_call("all_reduce", [array], op, [out], weight)
            return lambda: call()[0]

        return self._later(prepare)

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
        return self._now(lambda: self._all_reduce_call("all_reduce_many", arrays, op, outs, weight))

    def all_reduce_many_async(
        self,
        arrays: Sequence[Array],
        *,
        op: str = "sum",
        outs: Sequence[Array] | None = None,
        weight: Weight | None = None,
    ) -> Work[list[Array]]:
        """`all_reduce_many` that returns at once."""
        return self._later(lambda: self._all_reduce_call("all_reduce_many", arrays, op, outs, weight))

    def reduce_scatter(self, array: Array, *, op: str = "sum", out: Array | None = None) -> Array:
        """Reduce over the ranks and keep one slice each: rank r gets rows [r·k, (r+1)·k) of the reduced array.

        Args:
            array: (size·k, …).
            op: as in `all_reduce`.
            out: (k, …).
        """
        return self._now(lambda: self._reduce_scatter_call(array, op, out))

    def reduce_scatter_async(self, array: Array, *, op: str = "sum", out: Array | None = None) -> Work[Array]:
        """`reduce_scatter` that returns at once."""
        return self._later(lambda: self._reduce_scatter_call(array, op, out))

    # Exchanges

    def all_gather(self, array: Array, *, out: Array | None = None) -> Array:
        """Stack every rank's array on a new leading axis: (…) becomes (size, …), in rank order."""
        return self._now(lambda: self._all_gather_call(array, out))

    def all_gather_async(self, array: Array, *, out: Array | None = None) -> Work[Array]:
        """`all_gather` that returns at once."""
        return self._later(lambda: self._all_gather_call(array, out))

    def broadcast(self, array: Array, *, root: int = 0, out: Array | None = None) -> Array:
        """Give every rank the root's array. `array` has the same shape and dtype everywhere; the root's counts."""
        return self._now(lambda: self._broadcast_call(array, root, out))

    def broadcast_async(self, array: Array, *, root: int = 0, out: Array | None = None) -> Work[Array]:
        """`broadcast` that returns at once."""
        return self._later(lambda: self._broadcast_call(array, root, out))

    def all_to_all(self, array: Array, *, out: Array | None = None) -> Array:
        """Exchange blocks: block r of `array` (size·k, …) goes to rank r; block r of the result came from rank r."""
        return self._now(lambda: self._all_to_all_call(array, out))

    def all_to_all_async(self, array: Array, *, out: Array | None = None) -> Work[Array]:
        """`all_to_all` that returns at once."""
        return self._later(lambda: self._all_to_all_call(array, out))

    def barrier(self) -> None:
        """Return once every rank has come here."""
        self.counters.add("barrier", 0)
        self._now(lambda: lambda: self._barrier(call_text_of("barrier")))

    def meet(self, call_text: str) -> None:
        """A barrier that all ranks must reach with the same `call_text`; it is not counted.

        Raises:
            CollectiveMismatchError: on every rank, with all texts, if they differ.
        """
        self._now(lambda: lambda: self._barrier(call_text))

    # From one rank to another

    def send(self, array: Array, *, destination: int, tag: int = 0) -> None:
        """Send `array` to one rank. Returns as soon as `array` may be changed, whether or not it was received."""
        self._message_call(lambda: self._send_call(array, destination, tag))()

    def send_async(self, array: Array, *, destination: int, tag: int = 0) -> Work[None]:
        """`send` as a `Work`, for symmetry: sending never waits, so it is done before this returns."""
        work = Work(self._message_call(lambda: self._send_call(array, destination, tag)))
        work.carry_out()
        self._collectives.note_failure(work)
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
        call = self._message_call(lambda: self._recv_call(source, tag, shape, dtype, out))
        queue = self._receive_queues.get((source, tag))
        return call() if queue is None else queue.run(call)  # behind those that wait already

    def recv_async(
        self,
        *,
        source: int,
        tag: int = 0,
        shape: tuple[int, ...] | None = None,
        dtype: DTypeLike | None = None,
        out: Array | None = None,
    ) -> Work[Array]:
        """`recv` that returns at once. Messages of one source and tag arrive in order, others when they come."""
        call = self._message_call(lambda: self._recv_call(source, tag, shape, dtype, out))
        if len(self._receive_queues) >= MAX_RECEIVE_QUEUES:
            self._receive_queues = {
                address: queue for address, queue in self._receive_queues.items() if not queue.is_idle
            }
        if (source, tag) not in self._receive_queues:
            name = f"messages from rank {source} with tag {tag} of {self.group}"
            self._receive_queues[source, tag] = WorkQueue(name, keeps_thread=False)
        return self._receive_queues[source, tag].submit(call)

    def _message_call(self, prepare: Prepare[Result]) -> Callable[[], Result]:
        """A call about a message, which asks no other rank whether this communicator is still open."""
        self._check_process()
        if self._is_closing:
            raise CollectiveError(expected(f"group {self.group!r}", "an open communicator", "one that was closed"))
        return prepare()

    # Python objects

    def all_gather_object(self, value: Any) -> list[Any]:
        """Every rank's object, in rank order, on every rank."""
        return self._now(lambda: self._all_gather_object_call(value))

    def broadcast_object(self, value: Any = None, *, root: int = 0) -> Any:
        """The root's object on every rank; nobody looks at the others' `value`."""
        return self._now(lambda: self._broadcast_object_call(value, root))

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
        child = self._now(lambda: self._split_call(color, self.rank if key is None else key))
        if child is not None:
            child.timeout = self.timeout
            if child.on_hosts is child:
                # Counted alike on all members, which make their groups together and may close them at different times.
                self._names_given[child.group] += 1
                child._number_of_name = self._names_given[child.group]
            else:  # on devices, beside a group of the hosts that has its name by now
                child._number_of_name = child.on_hosts._number_of_name
            is_taken = child.on_hosts is not child and child.group in self.groups
            self.adopt(f"{child.group} on {child.place}" if is_taken else child.group, child)
        return child

    def lane(self, name: str) -> Communicator:
        """The same ranks once more, beside this communicator: neither's calls wait for the other's.

        A lane has an order of calls of its own, and breaks for itself. It is more urgent than what it came of, which
        gives way at every chunk, though not for long. The first use, also after all ranks have closed it, is collective
        as `split` is; a world of one needs none, nor do devices, where kernels of two NCCL communicators may lock up.
        """
        if self.size == 1:
            return self
        lane = self._lanes.get(name)
        if not isinstance(lane, Communicator) or lane._is_closing:  # one that was closed is followed by a new one
            lane = self._now(lambda: lambda: self._open_lane(name))
            if lane is self:
                return self
            lane.timeout, lane.counters, lane._lane = self.timeout, self.counters, f"{self.group} {name}"
            self._lanes[name] = lane
            self.adopt(lane.group, lane)
        return lane

    def _open_lane(self, name: str) -> Communicator:
        self._call_text = f"lane {name}"
        self._barrier(self._call_text)
        return self._split([list(range(self.size))]) or self

    def adopt(self, name: str, child: Communicator) -> None:
        """Let a communicator that came of this one be found under `name` and be closed with the world."""
        child.groups, child.family, child._names_given = self.groups, self.family, self._names_given
        self.groups[name] = child
        self.family.append(child)

    def allocate(self, nbytes: int) -> Array:
        """Bytes in which collectives need no copies (collective; 64-byte aligned; zero-filled).

        Where a communicator has no such memory this is ordinary memory.

        Args:
            nbytes: the same on every rank.

        Raises:
            CollectiveMismatchError: on every rank, if ranks asked for different sizes.
            CollectiveError: on every rank, if one of them has no such memory left.
        """
        return self._now(lambda: self._allocate_call(nbytes))

    def algorithm(self, kind: str, nbytes: int) -> str:
        """The name of the program that carries out a call of `kind` with `nbytes` bytes per rank."""
        return self._program(kind.removesuffix("_many"), nbytes).name

    @abstractmethod
    def abort(self, code: int = 1) -> None:
        """End the whole job now, with exit code `code`, whatever the other ranks are doing."""

    def close(self, reason: str = "has closed this communicator") -> None:
        """Finish pending work, tell the others and give resources back.

        Args:
            reason: what those read who still wait for this rank.

        Raises:
            Exception: of the first asynchronous call that failed and that nobody has waited for.
        """
        if self.is_inherited:
            return
        self._is_closing = True
        if self in self.family:
            self.family.remove(self)
        for name in [name for name, group in self.groups.items() if group is self]:
            del self.groups[name]
        with ExitStack() as closing:
            closing.callback(self._collectives.close)
            for queue in self._receive_queues.values():
                closing.callback(queue.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.group!r} rank {self.rank}/{self.size}>"
