"""What all communicators promise of reductions."""

from __future__ import annotations

import numpy as np
import pytest
from contract_table import LARGE, SIZES, assert_bits, check, data_of, oracle, reduced, weighted_oracle

from dtrain.base import dtype as dtypes
from dtrain.base.errors import DtypeError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.packed import packed_offsets
from dtrain.collectives.programs.rank_order import REDUCE_OPS


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


WEIGHTS = ([3.0, 1.0, 2.0, 0.5, 7.0], [0.0, 2.0, 0.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5)


@check
def a_weighted_reduction_reads_no_rank_of_weight_zero(comm: Communicator) -> None:
    """Σ w·x and Σ w·x / Σ w, product by product in rank order; a plain mean where nobody counts."""
    for dtype in dtypes.FLOATS:
        for given in WEIGHTS:
            weights = given[: comm.size]
            for size in (0, 1, 17, 3001, LARGE) if dtype is dtypes.float32 else (17, 3001):
                parts = [data_of(rank, size, dtype) for rank in range(comm.size)]
                mine = parts[comm.rank].copy()
                if weights[comm.rank] == 0 and any(weights):
                    mine[...] = np.nan
                for op in ("sum", "mean"):
                    result = comm.all_reduce(mine, op=op, weight=weights[comm.rank])
                    assert_bits(result, weighted_oracle(parts, weights, op), f"{dtype.tag} {op} {weights} {size}")


@check
def a_weight_and_what_it_adds_to_the_divisor_may_differ(comm: Communicator) -> None:
    """Sync-BN: a rank whose samples matter to others, and whose own mean does not count."""
    weights, counts = [1.0, 4.0, 1.0, 2.0, 1.0][: comm.size], [0.0, 4.0, 0.0, 2.0, 0.0][: comm.size]
    counts = counts if any(counts) else [2.0]
    arrays = [[data_of(rank, size, dtypes.float64) for size in (5, 3000)] for rank in range(comm.size)]
    pair = (weights[comm.rank], counts[comm.rank])
    for n, result in enumerate(comm.all_reduce_many(arrays[comm.rank], op="mean", weight=pair)):
        parts = [arrays[rank][n] for rank in range(comm.size)]
        assert_bits(result, weighted_oracle(parts, weights, "mean", counts))


@check
def nothing_overflows_by_a_weight(comm: Communicator) -> None:
    array = np.full(9, 60000, np.float16)
    assert_bits(comm.all_reduce(array, op="mean", weight=2048.0 * (comm.rank + 1)), array)


@check
def a_wrong_weight_is_refused_before_anything_is_sent(comm: Communicator) -> None:
    for weight in (-1.0, np.nan, np.inf, "1", (1.0, -1.0)):
        with pytest.raises(ValueError, match="all_reduce: expected a weight that is a finite number of at least 0"):
            comm.all_reduce(data_of(comm.rank, 3), op="mean", weight=weight)
    with pytest.raises(ValueError, match="op sum or mean with a weight, got 'max'"):
        comm.all_reduce(data_of(comm.rank, 3), op="max", weight=1.0)
    with pytest.raises(DtypeError, match="a floating dtype with a weight, got s32"):
        comm.all_reduce(data_of(comm.rank, 3, dtypes.int32), weight=1.0)
    assert_bits(comm.all_reduce(data_of(comm.rank, 3)), reduced(comm, 3), "the next call works")


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
