"""What all communicators promise of the order of calls, of mistakes and of counters."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from contract_table import LARGE, assert_bits, check, data_of, reduced

from dtrain.base.errors import CollectiveMismatchError, DtypeError, ShapeError
from dtrain.collectives.communicator.contract import Communicator


@check
def async_calls_keep_order(comm: Communicator) -> None:
    works = [comm.all_reduce_async(data_of(comm.rank, 50 * n, salt=n)) for n in range(20)]
    gathered = comm.all_gather_async(np.array([comm.rank]))
    scattered = comm.reduce_scatter_async(np.full(comm.size, comm.rank))
    sent = comm.broadcast_async(np.array([comm.rank]), root=comm.size - 1)
    exchanged = comm.all_to_all_async(np.full(comm.size, comm.rank))
    many = comm.all_reduce_many_async([np.full(2, comm.rank), np.full(3, comm.rank)])
    assert comm.all_reduce(np.array([1]))[0] == comm.size  # a call that waits comes after those that do not
    assert all(work.is_completed() for work in works)
    for n, work in enumerate(works):
        assert_bits(work.wait(20), reduced(comm, 50 * n, salt=n), str(n))
    total = comm.size * (comm.size - 1) // 2
    assert gathered.wait(20).tolist() == [[rank] for rank in range(comm.size)]
    assert scattered.wait(20).tolist() == [total]
    assert sent.wait(20).tolist() == [comm.size - 1]
    assert exchanged.wait(20).tolist() == list(range(comm.size))
    assert [part.tolist() for part in many.wait(20)] == [[total] * 2, [total] * 3]


@check
def async_calls_run_beside_the_caller(comm: Communicator) -> None:
    thread_names: list[str] = []

    class Spy(np.ndarray):
        def reshape(self, *shape: int) -> np.ndarray:
            thread_names.append(threading.current_thread().name)
            return super().reshape(*shape)

    comm.all_reduce_async(np.ones(4).view(Spy)).wait(20)
    assert thread_names and threading.current_thread().name not in thread_names


@check
def a_lane_does_not_wait_for_the_calls_of_its_group(comm: Communicator) -> None:
    lane = comm.lane("statistics")
    assert comm.lane("statistics") is lane and lane.size == comm.size and lane.rank == comm.rank
    if lane is comm:  # nothing waits there for other ranks, or a device takes one call at a time
        return
    assert lane.group == f"{comm.group} statistics" and comm.groups[lane.group] is lane
    for salt in range(3):
        gradient, statistics = data_of(comm.rank, LARGE, salt=salt), data_of(comm.rank, 17, salt=salt + 10)
        # One rank has begun the call of the group before that of the lane, which the others end before they begin it.
        work = comm.all_reduce_async(gradient) if comm.rank == 0 else None
        assert_bits(lane.all_reduce(statistics), reduced(comm, 17, salt=salt + 10))
        work = work or comm.all_reduce_async(gradient)
        assert_bits(work.wait(20), reduced(comm, LARGE, salt=salt))
    works = [lane.all_reduce_async(np.array([comm.rank * n])) for n in range(5)]
    total = comm.size * (comm.size - 1) // 2
    assert [work.wait(20)[0] for work in works] == [total * n for n in range(5)]


@check
def a_mismatch_in_a_lane_names_it(comm: Communicator) -> None:
    lane = comm.lane("statistics")
    if lane is comm:
        return
    with pytest.raises(CollectiveMismatchError, match=f"group '{comm.group} statistics', collective"):
        lane.all_reduce(np.ones(2 if comm.rank else 3))
    assert lane.all_reduce(np.ones(1))[0] == comm.all_reduce(np.ones(1))[0] == comm.size


@check
def every_mismatch_is_raised_on_every_rank(comm: Communicator) -> None:
    if comm.size == 1:
        return
    array = np.ones(comm.size * 4, np.float32)
    last = comm.rank == comm.size - 1
    cases: list[tuple[str, Callable[[], object]]] = [
        ("all_gather f32", lambda: comm.all_gather(array) if last else comm.all_reduce(array)),
        ("all_reduce max", lambda: comm.all_reduce(array, op="max" if last else "sum")),
        ("all_reduce sum f64", lambda: comm.all_reduce(array.astype(np.float64) if last else array)),
        ("all_reduce sum f32[2,", lambda: comm.all_reduce(array.reshape(2, -1) if last else array)),
        ("all_reduce sum f32[0]", lambda: comm.all_reduce(array[:0] if last else np.ones(LARGE, np.float32))),
        ("root=1", lambda: comm.broadcast(array, root=1 if last else 0)),
        ("barrier", lambda: comm.barrier() if last else comm.all_to_all(array)),
        ("all_reduce_many", lambda: comm.all_reduce_many([array, array]) if last else comm.reduce_scatter(array)),
        ("all_gather_object", lambda: comm.all_gather_object(3) if last else comm.broadcast_object(3)),
    ]
    for text, call in cases:
        with pytest.raises(CollectiveMismatchError) as caught:
            call()
        message = str(caught.value)
        assert text in message and f"rank {comm.size - 1}: " in message and "make every rank" in message
        others = "rank 0: " if comm.size == 2 else ("ranks 0,1: " if comm.size == 3 else f"ranks 0-{comm.size - 2}: ")
        assert others in message, message
        assert_bits(comm.all_reduce(data_of(comm.rank, 33)), reduced(comm, 33), f"a good call after {text}")
    works = [comm.all_reduce_async(array[: 3 if last else 2]), comm.all_reduce_async(array)]
    with pytest.raises(CollectiveMismatchError, match=r"f32\[3\]"):
        works[0].wait(20)
    assert works[1].wait(20)[0] == comm.size


@check
def bad_arguments_are_refused_before_anybody_waits(comm: Communicator) -> None:
    numbers = np.arange(comm.size + 1)
    refused: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (
            DtypeError,
            "floating dtype for op='mean', got s64; use op='sum'",
            lambda: comm.all_reduce(numbers, op="mean"),
        ),
        (ValueError, "one of sum, mean, min, max, prod, got 'avg'", lambda: comm.all_reduce(numbers, op="avg")),
        (TypeError, "Py array, got list", lambda: comm.all_reduce([1, 2])),
        (DtypeError, "complex128", lambda: comm.all_gather(numbers.astype(complex))),
        (DtypeError, "uint16", lambda: comm.broadcast(numbers.astype(np.uint16))),
        (ShapeError, r"out of int64 \(", lambda: comm.all_reduce(numbers, out=np.empty(3))),
        (ValueError, "root to be a rank", lambda: comm.broadcast(numbers, root=comm.size)),
        (ValueError, "destination to be a rank", lambda: comm.send(numbers, destination=-1)),
        (ValueError, "source to be a rank", lambda: comm.recv(source=comm.size)),
        (TypeError, "one dtype, got f32, s64", lambda: comm.all_reduce_many([numbers, np.ones(2, np.float32)])),
        (TypeError, "one dtype, got no arrays", lambda: comm.all_reduce_many([])),
        (
            ShapeError,
            r"as many outs as arrays \(2\), got 1",
            lambda: comm.all_reduce_many([numbers] * 2, outs=[numbers]),
        ),
        (ShapeError, "axis 0 to be divisible", lambda: comm.all_to_all(np.array(1))),
    ]
    if comm.size > 1:
        refused.append((ShapeError, f"divisible by {comm.size} ranks", lambda: comm.reduce_scatter(numbers)))
    for error, text, call in refused:
        with pytest.raises(error, match=text):
            call()
    assert comm.all_reduce(np.array([1]))[0] == comm.size


@check
def counters_tell_what_ran(comm: Communicator) -> None:
    comm.counters.reset()
    for _ in range(3):
        comm.all_reduce(np.ones(10, np.float32))
    comm.all_reduce_many([np.ones(2), np.ones(3)])
    comm.broadcast(np.ones(4))
    comm.barrier()
    counters = comm.counters
    assert (counters["all_reduce"].calls, counters["all_reduce"].nbytes) == (3, 120)
    assert (counters["all_reduce_many"].calls, counters["all_reduce_many"].nbytes) == (1, 40)
    assert counters["barrier"].calls == 1 and counters.calls == 6
    assert all(comm.algorithm("all_reduce", nbytes) for nbytes in (0, 100, 1 << 24))
