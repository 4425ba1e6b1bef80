"""The rule of summation: against a naive oracle, bit by bit, with and without compiled kernels."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from dtrain.base import dtype as dtypes
from dtrain.base.errors import DtypeError
from dtrain.collectives.programs import rank_order
from dtrain.collectives.programs.rank_order import REDUCE_OPS, check_reduction, reduce_by_blocks, reduce_in_rank_order


@pytest.fixture(params=["kernel", "blocks"])
def reduce(request: pytest.FixtureRequest):
    return {"kernel": reduce_in_rank_order, "blocks": reduce_by_blocks}[request.param]


def parts_of(num_parts: int, size: int, dtype: dtypes.DType) -> list[np.ndarray]:
    generator = np.random.default_rng([num_parts, size])
    return [(generator.normal(size=size) * 50).astype(dtype.numpy) for _ in range(num_parts)]


def in_python(parts: list[np.ndarray], op: str) -> list[float]:
    """Element by element, one NumPy scalar at a time."""
    dtype = parts[0].dtype
    wide = np.float32 if dtype.itemsize == 2 and dtypes.from_numpy(dtype).is_floating else dtype.type
    results = []
    with np.errstate(all="ignore"):
        for column in zip(*parts, strict=True):
            total = wide(column[0])
            for value in column[1:]:
                value = wide(value)
                total = {
                    "sum": np.add,
                    "mean": np.add,
                    "prod": np.multiply,
                    "min": np.minimum,
                    "max": np.maximum,
                }[op](total, value)
            results.append(np.asarray(total / wide(len(parts)) if op == "mean" else total).astype(dtype))
    return results


CASES = [(op, dtype) for op in REDUCE_OPS for dtype in (dtypes.FLOATS if op == "mean" else dtypes.ALL)]


@pytest.mark.parametrize(("op", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("num_parts", [1, 2, 3, 7])
def test_equals_python(reduce, op: str, dtype: dtypes.DType, num_parts: int) -> None:
    for size in (0, 1, 17, 130):
        parts = parts_of(num_parts, size, dtype)
        out = np.empty(size, dtype.numpy)
        reduce(parts, op, out)
        wanted = np.array(in_python(parts, op), dtype.numpy)
        assert out.tobytes() == wanted.tobytes(), (size, out, wanted)


@pytest.mark.parametrize("size", [8191, 8192, 8193, 40000])
def test_blocks_do_not_show(reduce, size: int) -> None:
    parts = parts_of(3, size, dtypes.float32)
    out, slices = np.empty(size, np.float32), np.empty(size, np.float32)
    reduce(parts, "sum", out)
    for start in range(0, size, 777):
        reduce([part[start : start + 777] for part in parts], "sum", slices[start : start + 777])
    assert out.tobytes() == slices.tobytes()


def test_order_is_the_ranks_order(reduce) -> None:
    parts = [np.array([value], np.float32) for value in (1e8, 1.0, -1e8, 1.0)]
    out = np.empty(1, np.float32)
    reduce(parts, "sum", out)
    assert out[0] == 1.0  # (1e8 + 1) loses the first 1; any other order gives 0 or 2
    reduce([parts[0], parts[2], parts[1], parts[3]], "sum", out)
    assert out[0] == 2.0


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_short_floats_round_once(reduce, dtype: type) -> None:
    big = 2048 if dtype is np.float16 else 256
    parts = [np.array([value], dtype) for value in (big, 1, 1)]
    out = np.empty(1, dtype)
    reduce(parts, "sum", out)
    assert float(out[0]) == big + 2  # rounding at each step would stay at `big`


@pytest.mark.parametrize("owner", [0, 1, 2])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.bfloat16], ids=lambda dtype: dtype.tag)
def test_outputs_may_be_parts(reduce, owner: int, dtype: dtypes.DType) -> None:
    parts = parts_of(3, 20000, dtype)
    wanted = np.empty_like(parts[0])
    reduce([part.copy() for part in parts], "sum", wanted)
    copies = [part.copy() for part in parts]
    reduce(copies, "sum", copies[owner])
    assert copies[owner].tobytes() == wanted.tobytes()
    reduce(parts, "sum", *parts)
    for part in parts:
        assert part.tobytes() == wanted.tobytes()


def test_special_values(reduce) -> None:
    first, second = np.array([np.nan, -0.0, np.inf], np.float32), np.array([1, -0.0, -np.inf], np.float32)
    out = np.empty(3, np.float32)
    reduce([first, second], "max", out)
    assert np.isnan(out[0]) and out[2] == np.inf
    reduce([first, second], "sum", out)
    assert np.isnan(out[0]) and np.signbit(out[1]) and np.isnan(out[2])


def test_kernels_are_in_use_where_they_are_built() -> None:
    pytest.importorskip("dtrain.kernels._cpu", reason="the compiled module is not built")
    assert rank_order._compiled_kernel(np.dtype(np.float32)) is not None


def test_check_reduction_refuses() -> None:
    assert check_reduction("here", "mean", dtypes.bfloat16) == "mean"
    with pytest.raises(ValueError, match="here: expected op to be one of sum, mean, min, max, prod, got 'average'"):
        check_reduction("here", "average", dtypes.float32)
    with pytest.raises(DtypeError, match="a floating dtype for op='mean', got s32; use op='sum' and divide"):
        check_reduction("here", "mean", dtypes.int32)


@pytest.mark.parametrize("dtype", dtypes.FLOATS, ids=lambda dtype: dtype.tag)
def test_coefficients_multiply_each_part_and_none_of_zero_is_read(reduce, dtype: dtypes.DType) -> None:
    for size in (0, 17, 20000):
        parts = parts_of(3, size, dtype)
        wide = np.float32 if dtype.numpy.itemsize == 2 else dtype.numpy.type
        wanted = wide(0.25) * parts[0].astype(wide) + wide(2 / 3) * parts[2].astype(wide)
        parts[1][...] = np.nan
        out = np.empty(size, dtype.numpy)
        reduce(parts, (0.25, 0.0, 2 / 3), out)
        assert out.tobytes() == wanted.astype(dtype.numpy).tobytes()
        reduce(parts, (0.25, 0.0, 2 / 3), *parts)
        assert all(part.tobytes() == out.tobytes() for part in parts)
        reduce(parts, (0.0, 0.0, 0.0), out)
        assert not out.any()
