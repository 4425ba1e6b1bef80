"""Counts of numbers, and the numbers of buckets, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F


@pytest.mark.parametrize("dtype", ["u8", "s32", "s64"])
@pytest.mark.parametrize("minlength", [0, 3, 9])
def test_counts_are_numpys(dtype: str, minlength: int) -> None:
    for numbers in ([], [0], [3, 1, 1, 5, 0]):
        found = dt.bincount(dt.tensor(np.array(numbers, np.int64), dtype=dtype), minlength=minlength)
        assert found.dtype is dt.int64 and found.tolist() == np.bincount(numbers or [], minlength=minlength).tolist()


@pytest.mark.parametrize(("given", "wanted"), [("f32", "f32"), ("f64", "f64"), ("f16", "f64"), ("s64", "f64")])
def test_weights(given: str, wanted: str) -> None:
    weights = dt.tensor([1, 2, 3, 4]).to(given)
    found = F.bincount(dt.tensor([1, 0, 1, 3]), weights)
    assert found.dtype.tag == wanted and found.tolist() == [2.0, 4.0, 0.0, 4.0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: F.bincount(dt.tensor([1, -1])), "bincount: expected numbers from 0 to 1, got -1"),
        (lambda: F.bincount(dt.tensor([-1])), "numbers"),
        (lambda: F.bincount(dt.tensor([1.0])), "integers"),
        (lambda: F.bincount(dt.tensor([[1]])), "a vector"),
        (lambda: F.bincount(dt.tensor([1]), dt.tensor([1.0, 2.0])), "weights of its length"),
        (lambda: F.bincount(dt.tensor([1]), minlength=-1), "minlength"),
        (lambda: dt.bucketize(dt.tensor([1]), dt.tensor([[1]])), r"boundaries \[n\]"),
    ],
)
def test_errors(call: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        call()


@pytest.mark.parametrize("right", [False, True])
def test_buckets_are_numpys(right: bool) -> None:
    limits, x = np.array([1.0, 3.0, 5.0]), np.array([[0.5, 1.0, 4.0], [5.0, 9.0, np.nan]])
    # PyTorch's `right` is the opposite of digitize's.
    found = dt.bucketize(input=dt.tensor(x), boundaries=dt.tensor(limits), right=right)
    assert found.tolist() == np.digitize(x, limits, right=not right).tolist()
    assert F.bucketize(2.0, limits, out_int32=True).dtype is dt.int32
