"""Inputs with one exact result in every order of summation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dtrain.base import dtype as dtypes
from dtrain.base.errors import DtypeError
from dtrain.bench.collectives.exact_data import count_wrong, expected_result, inputs
from dtrain.collectives.programs.rank_order import REDUCE_OPS, reduce_in_rank_order

CASES = [(op, dtype) for op in REDUCE_OPS for dtype in (dtypes.FLOATS if op == "mean" else dtypes.ALL)]


@pytest.mark.parametrize(("op", "dtype"), CASES, ids=str)
def test_every_order_gives_the_expected_result(op, dtype: dtypes.DType) -> None:
    parts = [inputs(101, rank, 4, dtype, op) for rank in range(4)]
    assert len({part.tobytes() for part in parts}) == 4, "ranks differ"
    wanted = expected_result(101, 4, dtype, op)
    for order in itertools.permutations(parts):
        out = np.empty(101, dtype.numpy)
        reduce_in_rank_order(order, op, out)
        assert count_wrong(out, wanted) == 0


def test_wrong_elements_are_counted() -> None:
    wanted = expected_result(100, 2, dtypes.float32, "sum")
    given = wanted.copy()
    given[[3, 50]] += 1
    given[60] = -given[60] if given[60] else -0.0
    assert count_wrong(given, wanted) == 3
    assert count_wrong(wanted[:0], wanted[:0]) == 0


def test_too_many_ranks_for_exact_sums_are_refused() -> None:
    assert inputs(10, 0, 256, dtypes.bfloat16, "sum").max() == 1
    with pytest.raises(DtypeError, match="at most 256 ranks for exact sums in bf16, got 257"):
        inputs(10, 0, 257, dtypes.bfloat16, "sum")
