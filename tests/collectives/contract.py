"""The contract of all communicators, as a table of checks: `CHECKS[name](communicator)`.

Every check is collective and runs in worlds of any size. Ranks hold different data, made from the rank, so that each
can work out by itself what all of them must get; reductions are compared bit by bit with a naive oracle.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from dtrain.base import dtype as dtypes
from dtrain.base.errors import CollectiveMismatchError, DtypeError, ShapeError
from dtrain.collectives.communicator import Communicator
from dtrain.collectives.packed import packed_offsets
from dtrain.collectives.rank_order import REDUCE_OPS
from dtrain.collectives.signature import compact

Check = Callable[[Communicator], None]
CHECKS: dict[str, Check] = {}

SIZES = (0, 1, 3, 7, 8, 17, 1000)
LARGE = 100003
COMBINE = {"sum": np.add, "mean": np.add, "min": np.minimum, "max": np.maximum, "prod": np.multiply}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def data_of(rank: int, shape: tuple[int, ...] | int, dtype: dtypes.DType = dtypes.float32, salt: int = 0) -> np.ndarray:
    """What `rank` puts in: random, and different on every rank."""
    generator = np.random.default_rng([rank, salt, zlib.crc32(dtype.tag.encode())])
    if dtype.is_floating:
        return generator.normal(size=shape).astype(dtype.numpy)
    if dtype is dtypes.bool_:
        return generator.integers(0, 2, shape).astype(np.bool_)
    limits = np.iinfo(dtype.numpy)
    return generator.integers(limits.min, limits.max, shape, dtype=dtype.numpy, endpoint=True)


def oracle(parts: list[np.ndarray], op: str) -> np.ndarray:
    """The rule of summation, written as plainly as possible."""
    dtype = parts[0].dtype
    wide = np.dtype(np.float32) if dtypes.from_numpy(dtype) in (dtypes.float16, dtypes.bfloat16) else dtype
    with np.errstate(all="ignore"):
        total = parts[0].astype(wide)
        for part in parts[1:]:
            total = COMBINE[op](total, part.astype(wide))
        return (total / wide.type(len(parts)) if op == "mean" else total).astype(dtype)


def reduced(comm: Communicator, shape: tuple[int, ...] | int, dtype=dtypes.float32, op="sum", salt=0) -> np.ndarray:
    return oracle([data_of(rank, shape, dtype, salt) for rank in range(comm.size)], op)


def assert_bits(given: np.ndarray, wanted: np.ndarray, what: str = "") -> None:
    assert given.dtype == wanted.dtype and given.shape == wanted.shape, (what, given.dtype, given.shape, wanted.shape)
    assert given.tobytes() == wanted.tobytes(), what


@check
def all_reduce_takes_every_dtype_op_and_size(comm: Communicator) -> None:
    for dtype in dtypes.ALL:
        for op in REDUCE_OPS:
            if op == "mean" and not dtype.is_floating:
                continue
            sizes = SIZES if dtype in (dtypes.float32, dtypes.bfloat16, dtypes.uint8) else (0, 1, 17)
            for size in sizes:
                result = comm.all_reduce(data_of(comm.rank, size, dtype), op=op)
                assert_bits(result, reduced(comm, size, dtype, op), f"{dtype.tag} {op} {size}")


@check
def all_reduce_takes_large_arrays(comm: Communicator) -> None:
    for dtype in (dtypes.float32, dtypes.bfloat16, dtypes.uint8):
        result = comm.all_reduce(data_of(comm.rank, LARGE, dtype))
        assert_bits(result, reduced(comm, LARGE, dtype), dtype.tag)
        everyone = comm.all_gather(result)
        for row in everyone:
            assert_bits(row, result, "the same bits on every rank")


@check
def all_reduce_takes_every_shape(comm: Communicator) -> None:
    for shape in ((), (1,), (2, 3, 4), (0, 5), (3, 0)):
        assert_bits(comm.all_reduce(data_of(comm.rank, shape)), reduced(comm, shape), str(shape))


@check
def all_reduce_takes_arrays_that_are_not_contiguous(comm: Communicator) -> None:
    wide = data_of(comm.rank, (40, 60))
    wanted = reduced(comm, (40, 60))
    assert_bits(comm.all_reduce(wide[::3, ::2]), np.ascontiguousarray(wanted[::3, ::2]))
    assert_bits(comm.all_reduce(wide.T), np.ascontiguousarray(wanted.T))
    assert_bits(wide, data_of(comm.rank, (40, 60)), "the input stays as it was")
    frame = np.zeros((40, 120), np.float32)
    assert comm.all_reduce(wide, out=frame[:, ::2]).base is frame
    assert_bits(np.ascontiguousarray(frame[:, ::2]), wanted)
    assert not frame[:, 1::2].any()


@check
def all_reduce_writes_to_out(comm: Communicator) -> None:
    for size in (5, 3000, LARGE):
        array, out = data_of(comm.rank, size), np.empty(size, np.float32)
        assert comm.all_reduce(array, out=out) is out
        assert_bits(out, reduced(comm, size))
        comm.all_reduce(array, out=array)
        assert_bits(array, reduced(comm, size), "in place")


@check
def all_reduce_is_repeatable(comm: Communicator) -> None:
    array = data_of(comm.rank, 5000)
    assert_bits(comm.all_reduce(array), comm.all_reduce(array))


@check
def nan_and_overflow_are_results(comm: Communicator) -> None:
    array = np.array([np.nan if comm.rank == comm.size - 1 else 1, 6e4, comm.rank], np.float16)
    result = comm.all_reduce(array, op="max")
    assert np.isnan(result[0]) and result[2] == comm.size - 1
    assert np.isinf(comm.all_reduce(array)[1]) == (comm.size > 1)


@check
def all_reduce_many_equals_single_calls(comm: Communicator) -> None:
    shapes = [(3,), (0,), (17, 5), (), (3001,), (1,)]
    arrays = [data_of(comm.rank, shape, salt=n) for n, shape in enumerate(shapes)]
    for op in ("sum", "mean"):
        results = comm.all_reduce_many(arrays, op=op)
        for n, (shape, result) in enumerate(zip(shapes, results, strict=True)):
            assert_bits(result, reduced(comm, shape, op=op, salt=n), str(shape))


@check
def all_reduce_many_keeps_a_bucket_in_place(comm: Communicator) -> None:
    shapes = [(3,), (17, 5), (), (3001,)]
    offsets, nbytes = packed_offsets([4 * int(np.prod(shape)) for shape in shapes])
    for make in (comm.allocate, lambda n: np.zeros(n, np.uint8), None):
        # `None`: only rank 0 has the bucket in the window, the others hold separate arrays
        window = comm.allocate(nbytes) if make is None else make(nbytes)
        views = [
            window[offset : offset + 4 * int(np.prod(shape))].view(np.float32).reshape(shape)
            for offset, shape in zip(offsets, shapes, strict=True)
        ]
        if make is None and comm.rank > 0:
            views = [np.empty(shape, np.float32) for shape in shapes]
        for repeat in range(3):
            for n, view in enumerate(views):
                view[...] = data_of(comm.rank, view.shape, salt=n + repeat)
            comm.all_reduce_many(views, outs=views)
            for n, view in enumerate(views):
                assert_bits(view, reduced(comm, view.shape, salt=n + repeat), f"repeat {repeat}")


@check
def memory_from_allocate_is_aligned_and_zero(comm: Communicator) -> None:
    memory = comm.allocate(1000)
    assert memory.shape == (1000,) and memory.dtype == np.uint8
    assert memory.ctypes.data % 64 == 0 and not memory.any()
    numbers = memory[:800].view(np.float64)
    for op in REDUCE_OPS:
        out = np.empty(100)
        numbers[:] = data_of(comm.rank, 100, dtypes.float64)
        comm.all_reduce(numbers, op=op, out=out)
        assert_bits(out, reduced(comm, 100, dtypes.float64, op), f"{op} out of the window")
        comm.all_reduce(numbers[:60], op=op, out=numbers[40:])
        wanted = oracle([data_of(rank, 100, dtypes.float64)[:60] for rank in range(comm.size)], op)
        assert_bits(numbers[40:].copy(), wanted, f"{op} onto an overlapping part of the window")


@check
def reduce_scatter_keeps_one_slice(comm: Communicator) -> None:
    for dtype in (dtypes.float32, dtypes.float16, dtypes.int16):
        for rows, width in ((0, 3), (1, 1), (2, 17), (1, 5003)):
            for op in ("sum", "max"):
                shape = (comm.size * rows, width)
                wanted = reduced(comm, shape, dtype, op)[comm.rank * rows :][:rows]
                assert_bits(comm.reduce_scatter(data_of(comm.rank, shape, dtype), op=op), wanted, f"{shape}")
    own = data_of(comm.rank, comm.size * 3000)
    result = comm.reduce_scatter(own, out=own[-3000:])
    assert_bits(result, reduced(comm, comm.size * 3000)[comm.rank * 3000 :][:3000], "onto a part of the input")


@check
def all_gather_stacks_in_rank_order(comm: Communicator) -> None:
    for dtype in dtypes.ALL:
        for shape in ((), (0,), (3,), (7, 11)):
            wanted = np.stack([data_of(rank, shape, dtype) for rank in range(comm.size)])
            assert_bits(comm.all_gather(data_of(comm.rank, shape, dtype)), wanted, f"{dtype.tag} {shape}")
    out = np.empty((comm.size, LARGE), np.float32)
    out[comm.rank - 1] = data_of(comm.rank, LARGE)
    comm.all_gather(out[comm.rank - 1], out=out)
    assert_bits(out, np.stack([data_of(rank, LARGE) for rank in range(comm.size)]), "from a part of the output")


@check
def broadcast_gives_the_roots_array(comm: Communicator) -> None:
    for root in range(comm.size):
        for shape in ((), (0,), (17,), (30, 101)):
            array = data_of(comm.rank, shape, dtypes.int64)
            assert_bits(comm.broadcast(array, root=root), data_of(root, shape, dtypes.int64), f"{root} {shape}")
        array = data_of(comm.rank, LARGE)
        comm.broadcast(array, root=root, out=array)
        assert_bits(array, data_of(root, LARGE), "in place")


@check
def all_to_all_exchanges_blocks(comm: Communicator) -> None:
    for rows, width in ((0, 1), (1, 1), (2, 17), (1, 5003)):
        shape = (comm.size, rows, width)
        wanted = np.stack([data_of(rank, shape)[comm.rank] for rank in range(comm.size)]).reshape(-1, width)
        array = data_of(comm.rank, shape).reshape(-1, width)
        assert_bits(comm.all_to_all(array), wanted, f"{shape}")
        assert_bits(comm.all_to_all(array, out=array), wanted, "in place")


@check
def objects_travel(comm: Communicator) -> None:
    mine = {"rank": comm.rank, "text": "x" * (1 + 5000 * comm.rank)}
    everyone = comm.all_gather_object(mine)
    assert [value["rank"] for value in everyone] == list(range(comm.size))
    assert len(everyone[-1]["text"]) == 1 + 5000 * (comm.size - 1)
    for root in range(comm.size):
        assert comm.broadcast_object(mine if comm.rank == root else None, root=root)["rank"] == root
    comm.send_object(mine, destination=(comm.rank + 1) % comm.size, tag=7)
    assert comm.recv_object(source=(comm.rank - 1) % comm.size, tag=7)["rank"] == (comm.rank - 1) % comm.size


@check
def letters_arrive_in_order_and_by_tag(comm: Communicator) -> None:
    following, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for tag in (5, 3):
        for n in range(3):
            comm.send(data_of(comm.rank, (n, 4), salt=tag), destination=following, tag=tag)
    for tag in (3, 5):
        for n in range(3):
            assert_bits(comm.recv(source=previous, tag=tag), data_of(previous, (n, 4), salt=tag))


@check
def everybody_can_send_before_anybody_receives(comm: Communicator) -> None:
    following, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    array = data_of(comm.rank, 300_000, dtypes.float64)
    comm.send(array, destination=following)
    array[:] = 0  # a sent array belongs to the caller again
    out = np.empty(300_000)
    assert comm.recv(source=previous, out=out) is out
    assert_bits(out, data_of(previous, 300_000, dtypes.float64))


@check
def letters_pass_collectives_under_way(comm: Communicator) -> None:
    following, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    letter = comm.recv_async(source=previous, tag=1)
    total = comm.all_reduce(data_of(comm.rank, 100))
    sent = comm.send_async(data_of(comm.rank, (2, 2), dtypes.bfloat16), destination=following, tag=1)
    assert_bits(total, reduced(comm, 100))
    assert_bits(letter.wait(20), data_of(previous, (2, 2), dtypes.bfloat16))
    sent.wait(20)


@check
def a_letter_of_another_kind_is_refused(comm: Communicator) -> None:
    comm.send(np.arange(3), destination=comm.rank)
    with pytest.raises(CollectiveMismatchError, match=r"expected f32 \(4,\), got s64 \(3,\)"):
        comm.recv(source=comm.rank, shape=(4,), dtype="f32")


@check
def split_makes_groups(comm: Communicator) -> None:
    members = [rank for rank in range(comm.size) if rank % 2 == comm.rank % 2]
    half = comm.split(comm.rank % 2)
    assert (half.rank, half.size) == (members.index(comm.rank), len(members))
    assert half.world_ranks == tuple(members)
    assert_bits(half.all_reduce(data_of(comm.rank, 100)), oracle([data_of(r, 100) for r in members], "sum"))
    backward = comm.split(0, key=-comm.rank)
    assert backward.rank == comm.size - 1 - comm.rank
    assert backward.all_gather_object(comm.rank) == list(range(comm.size))[::-1]
    single = half.split(comm.rank)
    assert (single.size, single.world_ranks) == (1, (comm.rank,))
    assert_bits(single.all_reduce(data_of(comm.rank, 9)), data_of(comm.rank, 9))
    others = comm.split(None if comm.rank == 0 else 3)
    assert (others is None) == (comm.rank == 0)
    if others is not None:
        assert others.all_reduce(np.ones(2))[0] == comm.size - 1
        others.close()
    for group in (half, backward, single):
        group.close()


@check
def groups_have_the_same_name_everywhere(comm: Communicator) -> None:
    half = comm.split(comm.rank % 2)
    names = comm.all_gather_object(half.group)
    assert names == [names[rank % 2] for rank in range(comm.size)]
    assert comm.group == "world"
    assert comm.groups[half.group].world_ranks == half.world_ranks
    if comm.size == 4:
        assert names[:2] == ["world/0,2", "world/1,3"]
    everybody, single = comm.split(0), comm.split(comm.rank)
    assert everybody.group == "world/" + compact(list(range(comm.size))), "a copy of the world is not the world"
    assert single.group == f"world/{comm.rank}"
    everybody.close()
    single.close()
    half.close()


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
