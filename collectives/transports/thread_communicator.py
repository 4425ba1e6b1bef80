"""Ranks as threads of one process: the algorithms of shared memory without MPI, for tests and for learning.

def program(communicator):
    return communicator.all_reduce(np.full(3, communicator.rank))

run_threads(4, program)      # [array([6, 6, 6]), ...]: one result per rank
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import numpy as np

from dtrain.base.cuda import prefer_gpu
from dtrain.base.dtype import DType
from dtrain.base.errors import CollectiveError, PeerLostError, expect_kind
from dtrain.base.exception_text import exception_message, exception_name
from dtrain.collectives.communicator.call_text import DIGEST_BYTES
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.group_calls import ordinary_memory
from dtrain.collectives.communicator.work import ClosedError
from dtrain.collectives.memory.shared_parts import check_offers
from dtrain.collectives.memory.shared_window import (
    FLAG_BYTES,
    FRAME_BYTES,
    NO_FRAME,
    NOTE_BYTES,
    Absence,
    Exchange,
    SharedWindow,
    State,
    region_bytes,
)
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.transports.shared_communicator import SharedCommunicator

Result = TypeVar("Result")
Rank = TypeVar("Rank", bound="ThreadCommunicator")

# Small, so that tests send messages of many chunks; a multiple of 64 with room for a line per rank.
THREAD_STAGING_BYTES = 4096


class ThreadWorld:
    """What the ranks of one group share. Groups made by `split` are worlds of their own under the same failure."""

    def __init__(
        self, size: int, staging_bytes: int, failure: _Failure, when_closed: Callable[[], None] = lambda: None
    ) -> None:
        self.size = size
        self.num_closed = 0
        self.when_closed = when_closed
        self.staging_bytes = staging_bytes
        self.failure = failure
        self.changed = failure.changed
        self.regions = [np.zeros(region_bytes(staging_bytes), np.uint8) for _ in range(size)]
        self.arrivals = [0] * size
        self.segments: list[dict[int, Array]] = []
        self.messages: dict[tuple[int, int, int], deque[Array]] = defaultdict(deque)
        self.states: dict[int, tuple[State, str]] = {}
        self.left: dict[int, str] = {}
        self.children: dict[tuple[int, tuple[int, ...]], ThreadWorld] = {}

    def close(self) -> None:
        """One rank is done with this group; the last one gives it back."""
        with self.changed:
            self.num_closed += 1
            if self.num_closed == self.size:
                self.when_closed()

    def forget(self, key: tuple[int, tuple[int, ...]]) -> None:
        self.children.pop(key, None)


class _Failure:
    """Whether some rank has left for good, and the condition that everybody waits on."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        with self.changed:
            self.reason = self.reason or reason
            self.changed.notify_all()

    def let_go(self) -> None:
        """Give back the lock that an exception between the end of a block and its exit has left with this thread."""
        while self.changed._is_owned():  # type: ignore[attr-defined]
            self.changed.release()

    def wait_until(self, is_done: Callable[[], bool], timeout: float) -> bool:
        """Wait under the condition; raises PeerLostError if a rank leaves. Returns whether it is done in time."""
        deadline = time.monotonic() + timeout
        while not is_done():
            if self.reason is not None:
                raise PeerLostError(f"expected every rank to take part, got {self.reason}; look at that rank's error")
            if not self.changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                return is_done()
        return True


class _ThreadWindow(SharedWindow):
    def __init__(self, world: ThreadWorld, rank: int) -> None:
        self._world = world
        self.rank = rank
        self.size = world.size
        self.regions = world.regions
        self._num_segments = 0
        self._is_waiting = False
        self._is_closed = False

    def meet(self, timeout: float, half: int = NO_FRAME) -> bool:
        world = self._world
        world.failure.let_go()
        with world.changed:
            world.arrivals[self.rank] += 1
            self._is_waiting = True  # behind the count: `leave` takes one back where this is set
            arrived = world.arrivals[self.rank]
            if min(world.arrivals) >= arrived:  # the last one wakes the others, and nobody before it does
                world.changed.notify_all()
            came = world.failure.wait_until(
                lambda: bool(self._gone(arrived)) or min(world.arrivals) >= arrived, timeout
            )
            gone = self._gone(arrived)
            if gone or not came:
                late = [rank for rank, count in enumerate(world.arrivals) if count < arrived]
                raise Absence(late, gone)
            self._is_waiting = False
        if half == NO_FRAME:
            return True
        begin = FLAG_BYTES + NOTE_BYTES + half * FRAME_BYTES
        return len({region[begin : begin + DIGEST_BYTES].tobytes() for region in self.regions}) == 1

    def _gone(self, arrived: int) -> dict[int, tuple[State, str]]:
        """Who will not come to this meeting."""
        return {rank: why for rank, why in self._world.states.items() if self._world.arrivals[rank] < arrived}

    def has_left(self, rank: int) -> str:
        return self._world.left.get(rank, "")

    def leave(self, state: State, text: str) -> None:
        self._world.failure.let_go()
        with self._world.changed:
            if state is State.LEFT:
                self._world.left.setdefault(self.rank, text)
                self._world.changed.notify_all()
            if self.rank in self._world.states:
                return
            self._world.states[self.rank] = (state, text)
            if self._is_waiting:
                # As if it had not come to this meeting: who has not left it yet looks at the state and raises.
                self._world.arrivals[self.rank] -= 1
            self._world.changed.notify_all()

    def allocate(self, nbytes: int, exchange: Exchange) -> list[Array]:
        world = self._world
        try:
            part, trouble = ordinary_memory(nbytes), ""
        except CollectiveError as error:
            part, trouble = ordinary_memory(0), f"!{error}"
        number, self._num_segments = self._num_segments, self._num_segments + 1
        with world.changed:
            while len(world.segments) <= number:
                world.segments.append({})
            world.segments[number][self.rank] = part
        check_offers(exchange(trouble))
        return [world.segments[number][rank] for rank in range(self.size)]

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._world.close()


class ThreadCommunicator(SharedCommunicator):
    """One rank of a group of threads; made by `run_threads`."""

    name = "thread"

    def __init__(
        self, world: ThreadWorld, rank: int, world_ranks: Sequence[int] | None, timeout: float | None = None
    ) -> None:
        super().__init__(_ThreadWindow(world, rank), world_ranks, staging_bytes=world.staging_bytes, timeout=timeout)
        self._world = world
        self._num_splits = 0

    def close(self, reason: str = "has closed this communicator") -> None:
        if self.is_inherited:
            return
        with self._world.changed:
            self._is_closing = True
            self._world.changed.notify_all()
        super().close(reason)

    def abort(self, code: int = 1) -> NoReturn:
        self._world.failure.set(f"abort({code}) on rank {self.rank}")
        raise SystemExit(code)

    @property
    def _patience(self) -> float:
        """Seconds that a thread waits for a message."""
        return self.timeout

    def _send(self, array: Array, destination: int, tag: int) -> None:
        world = self._world
        with world.changed:
            world.messages[self.rank, destination, tag].append(array.copy())
            world.changed.notify_all()

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array:
        world = self._world
        with world.changed:
            messages = world.messages[source, self.rank, tag]

            def is_over() -> bool:
                return len(messages) > 0 or self._is_closing or bool(self._window.has_left(source))

            world.failure.wait_until(is_over, self._patience)
            if messages:
                return messages.popleft()
            if self._is_closing:
                raise ClosedError(f"recv of group {self.group!r}: the communicator was closed while it waited")
            raise self._no_message(source, tag, self._window.has_left(source))

    def _split(self, groups: list[list[int]]) -> Communicator | None:
        number, self._num_splits = self._num_splits, self._num_splits + 1
        ranks = self._own_of(groups)
        if not ranks:
            return None
        world, key = self._world, (number, tuple(ranks))
        with world.changed:
            if key not in world.children:
                world.children[key] = ThreadWorld(
                    len(ranks), world.staging_bytes, world.failure, lambda: world.forget(key)
                )
            child = world.children[key]
        members = [self.world_ranks[rank] for rank in ranks]
        return self._child(child, ranks.index(self.rank), members)

    def _child(self, world: ThreadWorld, rank: int, members: Sequence[int]) -> ThreadCommunicator:
        """The communicator of a group of this one's ranks."""
        return ThreadCommunicator(world, rank, members, self.timeout)


def run_threads(
    size: int,
    program: Callable[[ThreadCommunicator], Result],
    *,
    timeout: float = 60.0,
    staging_bytes: int = THREAD_STAGING_BYTES,
) -> list[Result]:
    """Run `program(communicator)` on `size` ranks, each a thread with a world of its own, and return their results.

    Args:
        size: the number of ranks.
        program: what each rank does; `collectives.get_communicator()` inside of it is the rank's communicator.
        timeout: seconds that a collective waits.
        staging_bytes: chunk size of the shared-memory algorithms, a multiple of 64 and at least 64 per rank.

    Raises:
        Exception: of the first rank that raised. The others' collectives raise PeerLostError instead of waiting.
    """
    expect_kind("run_threads", size, int, "a number of ranks")
    return run_ranks_as_threads(
        size, program, lambda world, rank: ThreadCommunicator(world, rank, None, timeout), staging_bytes
    )


def run_ranks_as_threads(
    size: int,
    program: Callable[[Rank], Result],
    make: Callable[[ThreadWorld, int], Rank],
    staging_bytes: int,
) -> list[Result]:
    """`run_threads` of communicators that `make` makes of their world and rank."""
    from dtrain.collectives.world.context import using

    if size < 1:
        raise ValueError(f"run_threads: expected a world size of at least 1, got {size}")
    failure = _Failure()
    world = ThreadWorld(size, max(staging_bytes, 64 * size), failure)
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        communicator = make(world, rank)
        try:
            prefer_gpu(rank)
            with using(communicator):
                results[rank] = program(communicator)
            for group in reversed(list(communicator.family)):
                group.close("has ended its script")
        except BaseException as error:
            errors.append(error)  # in the order of failing: list.append is atomic
            failure.set(f"{exception_name(error)} on rank {rank}: {exception_message(error)}")
        finally:
            failure.let_go()

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(run, rank), name=f"rank {rank}", daemon=True)
        for rank in range(size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[rank] for rank in range(size)]
