"""Ranks as threads: errors spread instead of hanging, and each rank has a world of its own."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.collectives.memory.shared_window import State
from dtrain.collectives.transports.thread_communicator import ThreadCommunicator, run_threads
from dtrain.collectives.world import context


def test_results_come_in_rank_order() -> None:
    assert run_threads(5, lambda comm: (comm.rank, comm.size)) == [(rank, 5) for rank in range(5)]
    with pytest.raises(ValueError, match="a world size of at least 1, got 0"):
        run_threads(0, lambda comm: None)


def test_each_thread_has_its_own_world() -> None:
    def program(comm: ThreadCommunicator) -> tuple[int, int]:
        assert context.init() is comm and context.get_communicator() is comm
        assert context.is_initialized()
        return context.rank(), context.world_size()

    assert run_threads(3, program) == [(0, 3), (1, 3), (2, 3)]
    assert not context.is_initialized()


@pytest.mark.parametrize("waiting_in", ["collective", "message"])
def test_a_rank_that_raises_ends_the_others(waiting_in: str) -> None:
    seen: list[BaseException] = []

    def program(comm: ThreadCommunicator) -> None:
        if comm.rank == 1:
            raise KeyError("broken rank")
        try:
            if waiting_in == "collective":
                comm.all_reduce(np.ones(3))
            else:
                comm.recv(source=1)
        except PeerLostError as error:
            seen.append(error)
            raise

    begin = time.monotonic()
    with pytest.raises(KeyError, match="broken rank"):
        run_threads(3, program)
    assert time.monotonic() - begin < 10
    assert len(seen) == 2
    assert all("KeyError on rank 1: 'broken rank'; look at that rank's error" in str(error) for error in seen)


def test_abort_ends_the_others() -> None:
    def program(comm: ThreadCommunicator) -> None:
        if comm.rank == 0:
            comm.abort(3)
        comm.barrier()

    with pytest.raises(SystemExit):
        run_threads(2, program)


def test_a_rank_that_never_comes_is_named() -> None:
    release = threading.Event()

    def program(comm: ThreadCommunicator) -> str:
        comm.all_gather(np.zeros(2))
        if comm.rank == 2:
            release.wait(20)
            return ""
        with pytest.raises(CollectiveError) as caught:
            comm.all_reduce(np.ones(3, np.float32))
        if comm.all_ranks_but_one_have_timed_out():  # type: ignore[attr-defined]
            release.set()
        return str(caught.value)

    timed_out = iter(range(2))
    ThreadCommunicator.all_ranks_but_one_have_timed_out = lambda self: next(timed_out) == 1  # type: ignore[attr-defined]
    try:
        texts = run_threads(3, program, timeout=0.3)
    finally:
        del ThreadCommunicator.all_ranks_but_one_have_timed_out  # type: ignore[attr-defined]
    for text in texts[:2]:
        assert "(all_reduce sum f32[3])" in text and "within 0.3 s, got nothing from rank 2" in text
        assert "rank 2 was last in all_gather f64[2]" in text and "DTRAIN_COLLECTIVE_TIMEOUT" in text


def test_a_message_that_never_comes_is_named() -> None:
    has_waited = threading.Event()

    def program(comm: ThreadCommunicator) -> None:
        if comm.rank == 0:
            with pytest.raises(CollectiveError, match=r"tag 9 from rank 1 within 0\.1 s, got none"):
                comm.recv(source=1, tag=9)
            has_waited.set()
        has_waited.wait(20)

    run_threads(2, program, timeout=0.1)


@pytest.mark.parametrize("staging_bytes", [64, 1 << 20])
def test_chunk_size_does_not_show(staging_bytes: int) -> None:
    def program(comm: ThreadCommunicator) -> bytes:
        array = np.random.default_rng(comm.rank).normal(size=20011).astype(np.float32)
        exchanged = comm.all_to_all(array[:20010])
        return comm.all_reduce(array).tobytes() + comm.reduce_scatter(exchanged).tobytes()

    assert run_threads(3, program, staging_bytes=staging_bytes) == run_threads(3, program, staging_bytes=4096)


def test_a_rank_that_ends_with_the_lock_of_all_holds_up_nobody() -> None:
    """An exception between the end of a `with` block and its exit leaves the lock with the thread."""
    begin = time.monotonic()

    def program(comm: ThreadCommunicator) -> None:
        comm.barrier()
        if comm.rank == 0:
            comm._window._world.changed.acquire()
            raise ValueError("an end within the lock")
        comm.barrier()

    with pytest.raises(ValueError, match="an end within the lock"):
        run_threads(3, program, timeout=30)
    assert time.monotonic() - begin < 20


class InterruptedOnce(list):
    """Counts of arrivals; the next one of rank 0 is interrupted before it is noted."""

    was_interrupted = False

    def __setitem__(self, rank: int, count: int) -> None:
        if rank == 0 and not self.was_interrupted:
            self.was_interrupted = True
            raise KeyboardInterrupt
        super().__setitem__(rank, count)


def test_an_interrupt_on_the_way_into_a_meeting_leaves_the_one_before_as_it_was() -> None:
    """A slower rank may still be in that one, and must not be told that rank 0 never came."""

    def program(comm: ThreadCommunicator) -> None:
        comm.barrier()
        if comm.rank:
            return
        window, world = comm._window, comm._window._world
        with world.changed:
            before = world.arrivals[0]
            world.arrivals = InterruptedOnce(world.arrivals)
        with pytest.raises(KeyboardInterrupt):
            window.meet(5.0)
        window.leave(State.BROKEN, "rank 0 was interrupted")
        assert world.arrivals[0] == before

    run_threads(2, program)
