"""The rank-order reference: strictly left to right, one rounding for short floats, any alias."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from dtrain.kernels.reference.rank_order import rank_order_reduce


def reduce(arrays, op):
    out = np.empty_like(arrays[0])
    rank_order_reduce(*arrays, out=out, op=op)
    return out


def test_order_is_left_to_right() -> None:
    big, small = np.float32([1e8]), np.float32([1.0])
    assert reduce([big, -big, small], "sum").item() == 1.0
    assert reduce([small, big, -big], "sum").item() == 0.0


@pytest.mark.parametrize("op, wanted", [("sum", [9, 5]), ("prod", [-25, 0]), ("min", [-1, -1]), ("max", [5, 6])])
def test_integers(op, wanted) -> None:
    arrays = [np.array(values, np.int32) for values in ([5, 6], [-1, -1], [5, 0])]
    assert reduce(arrays, op).tolist() == wanted


def test_integers_wrap() -> None:
    assert reduce([np.array([127], np.int8), np.array([1], np.int8)], "sum").tolist() == [-128]


def test_booleans() -> None:
    arrays = [np.array([True, True, False]), np.array([True, False, False])]
    assert reduce(arrays, "sum").tolist() == reduce(arrays, "max").tolist() == [True, True, False]
    assert reduce(arrays, "prod").tolist() == reduce(arrays, "min").tolist() == [True, False, False]


@pytest.mark.parametrize("dtype, one, tiny", [(np.float16, 2048.0, 1.0), (ml_dtypes.bfloat16, 256.0, 1.0)])
def test_short_floats_round_once(dtype, one, tiny) -> None:
    """Rounded after every step, each of the two small terms would be lost."""
    arrays = [np.array([value], dtype) for value in (one, tiny, tiny)]
    assert float(reduce(arrays, "sum")[0]) == one + 2 * tiny


def test_nan_wins_and_mean_divides() -> None:
    arrays = [np.array([1.0, np.nan, 3.0]), np.array([np.nan, 1.0, 5.0])]
    assert np.isnan(reduce(arrays, "min")[:2]).all() and np.isnan(reduce(arrays, "max")[:2]).all()
    assert reduce(arrays, "mean")[2] == 4.0


def test_out_may_be_any_input() -> None:
    for position in range(3):
        arrays = [np.array([float(i + 1)]) for i in range(3)]
        rank_order_reduce(*arrays, out=arrays[position], op="sum")
        assert arrays[position].tolist() == [6.0]


def test_unknown_op() -> None:
    with pytest.raises(ValueError, match="op one of sum, mean, prod, min, max, got 'median'"):
        reduce([np.zeros(1)], "median")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_whose_sum_has_left_the_range(dtype) -> None:
    """What is divided first is there; beside it the sum is divided, as ever."""
    largest = dtype(0.9) * np.finfo(dtype).max
    arrays = [np.array([largest, largest, value, np.inf], dtype) for value in (0.1, 0.2, 0.7)]
    arrays[1][1] = -largest
    with np.errstate(over="ignore"):  # as kernels are called
        mean = reduce(arrays, "mean")
    np.testing.assert_allclose(mean[:2], [largest, largest / 3], rtol=1e-6)
    assert mean[2] == (arrays[0][2] + arrays[1][2] + arrays[2][2]) / dtype(3) and mean[3] == np.inf
