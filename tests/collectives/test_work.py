"""Handles and the queue that carries calls out in order."""

from __future__ import annotations

import threading

import pytest

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.work import Work, WorkQueue


def test_work_gives_its_result_or_its_error() -> None:
    good, bad = Work(lambda: 3), Work(lambda: 1 // 0)
    assert not good.is_completed()
    good.carry_out()
    bad.carry_out()
    assert good.is_completed() and good.wait() == 3 and good.wait() == 3
    assert bad.is_completed()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            bad.wait()


def test_wait_can_run_out_of_time() -> None:
    with pytest.raises(TimeoutError, match=r"Work.wait: expected the collective to end within 0.01 s, got no end yet"):
        Work(lambda: 3).wait(0.01)


def test_calls_keep_their_order_across_both_ways() -> None:
    queue, seen, gate = WorkQueue("test"), [], threading.Event()
    first = queue.submit(lambda: (gate.wait(10), seen.append("first")))
    second = queue.submit(lambda: seen.append("second"))
    threading.Timer(0.05, gate.set).start()
    queue.run(lambda: seen.append("third"))
    assert seen == ["first", "second", "third"]
    assert first.is_completed() and second.is_completed()
    queue.close()


def test_a_failed_call_does_not_stop_the_next() -> None:
    queue = WorkQueue("test")
    bad, good = queue.submit(lambda: 1 // 0), queue.submit(lambda: 4)
    assert good.wait(10) == 4
    with pytest.raises(ZeroDivisionError):
        bad.wait(10)
    assert queue.run(lambda: 5) == 5
    queue.close()


def test_close_finishes_what_is_pending_and_refuses_more() -> None:
    queue = WorkQueue("group 'x'")
    works = [queue.submit(lambda n=n: n) for n in range(5)]
    queue.close()
    queue.close()
    assert [work.wait(0) for work in works] == list(range(5))
    for call in (queue.run, queue.submit):
        with pytest.raises(CollectiveError, match="group 'x': expected an open communicator, got one that was closed"):
            call(lambda: 1)
    names = [thread.name for thread in threading.enumerate()]
    assert "group 'x'" not in names


def test_a_lock_that_an_interrupted_call_has_left_held_holds_nobody() -> None:
    queue = WorkQueue("test")
    queue._turn.acquire()
    queue._lock.acquire()
    assert queue.submit(lambda: 3).wait(10) == 3
    queue._lock.acquire()
    queue._turn.acquire()
    work = queue.submit(lambda: 4)
    assert queue.run(lambda: 5) == 5 and work.wait(10) == 4
    queue._turn.acquire()
    queue.close()
