"""Messages: in order whichever way they are waited for, and nothing left behind by many tags."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.element import quantized
from dtrain.base.errors import CollectiveMismatchError, DtypeError, LayoutError
from dtrain.base.tensor_type import tensor_type


def test_who_waits_in_a_call_stands_behind_those_that_wait_already() -> None:
    def program(comm: Any) -> list[Any]:
        got: list[Any] = []
        for _ in range(20):
            if comm.rank == 0:
                comm.recv(source=1, tag=1)
                for value in (1.0, 2.0):
                    comm.send(np.array([value]), destination=1)
                comm.send_object("three", destination=1)
            else:
                waiting = comm.recv_async(source=0)
                comm.send(np.zeros(1), destination=0, tag=1)
                second = comm.recv(source=0)
                got.append((waiting.wait(10)[0], second[0], comm.recv_object(source=0)))
        return got

    assert dist.run_threads(2, program, timeout=20)[1] == [(1, 2, "three")] * 20


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (dt.ones((2, 2, 2, 2)).relayout("NHWC"), LayoutError),
        (dt.Tensor(np.ones(3, np.int8), tensor_type((3,), quantized("s8", 0.5))), DtypeError),
    ],
    ids=["laid out", "quantized"],
)
def test_what_lies_otherwise_is_no_message(x: dt.Tensor, error: type[Exception]) -> None:
    """The other rank's tensor would take the array as it came, whatever it stood for."""

    def program(comm: Any) -> None:
        other = 1 - comm.rank
        for name, call in [("send", dist.send), ("send", dist.isend), ("recv", dist.recv), ("recv", dist.irecv)]:
            with pytest.raises(error, match=f"{name}: expected .*no rule for"):
                call(x, other)
        for name, call in [("send", dist.isend), ("recv", dist.irecv)]:
            with pytest.raises(error, match=f"{name}: expected .*no rule for"):
                dist.batch_isend_irecv([dist.P2POp(call, x, other)])
        assert x.version == 0

    dist.run_threads(2, program, timeout=20)


def test_tags_that_were_used_leave_no_thread() -> None:
    def program(comm: Any) -> int:
        for tag in range(100):
            if comm.rank == 0:
                dist.send(dt.tensor([float(tag)]), 1, tag=tag)
                comm.send(np.full(1, tag), destination=1, tag=200 + tag)
            else:
                x = dt.zeros(1)
                dist.recv(x, 0, tag=tag)
                assert (x.item(), comm.recv_async(source=0, tag=200 + tag).wait(10)[0]) == (tag, tag)
        deadline = time.monotonic() + 10
        while threading.active_count() > 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        return threading.active_count()

    assert max(dist.run_threads(2, program, timeout=20)) <= 8


def test_an_error_that_nobody_waits_for_outlives_the_clearing_of_queues() -> None:
    def program(comm: Any) -> None:
        if comm.rank == 0:
            for tag in range(150):
                comm.send(np.zeros(2), destination=1, tag=tag)
        else:
            wrong = comm.recv_async(source=0, tag=0, shape=(3,))
            for tag in range(1, 150):
                comm.recv_async(source=0, tag=tag).wait(10)
            assert wrong.is_completed()
            with pytest.raises(CollectiveMismatchError, match="tag 0"):
                comm.close()

    dist.run_threads(2, program, timeout=20)


def test_a_wait_takes_a_timedelta() -> None:
    def program(comm: Any) -> float:
        return float(comm.all_reduce_async(np.ones(1)).wait(timedelta(seconds=10))[0])

    assert dist.run_threads(2, program, timeout=20) == [2, 2]


@pytest.mark.parametrize("tag", [-1, 1 << 20, 1.5, "a", None])
def test_tags_that_no_message_can_have_are_refused_by_whoever_carries_it(tag: Any) -> None:
    def program(comm: Any) -> None:
        for call in (comm.recv, comm.recv_async):
            with pytest.raises((ValueError, TypeError), match="expected a tag"):
                call(source=0, tag=tag)
        for send in (comm.send, comm.send_async):
            with pytest.raises((ValueError, TypeError), match="expected a tag"):
                send(np.ones(1), destination=0, tag=tag)

    program(dist.SelfCommunicator())
    dist.run_threads(2, program)


@pytest.mark.parametrize("rank", [0.0, "0", None])
def test_ranks_are_whole_numbers(rank: Any) -> None:
    comm = dist.SelfCommunicator()
    for call in (comm.broadcast, comm.broadcast_async):
        with pytest.raises(TypeError, match="root to be a whole number"):
            call(np.ones(1), root=rank)
    with pytest.raises(TypeError, match="source to be a whole number"):
        comm.recv(source=rank)
    with pytest.raises(TypeError, match="destination to be a whole number"):
        comm.send(np.ones(1), destination=rank)
    assert comm.broadcast(np.ones(1), root=np.int64(0))[0] == 1  # type: ignore[arg-type]
