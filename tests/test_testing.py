"""`dt.testing.assert_close`: what is close by PyTorch 2.13's tolerances, and what the report says."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt

CLOSE_BY = {"f16": 1e-3, "bf16": 1.6e-2, "f32": 1.3e-6, "f64": 1e-7}


@pytest.mark.parametrize("dtype", CLOSE_BY)
def test_the_dtype_says_what_is_close(dtype):
    one = dt.tensor([1000.0], dtype="f64")
    rtol = CLOSE_BY[dtype]
    inside, outside = one.numpy() * (1 + 0.9 * rtol), one.numpy() * (1 + 1.6 * rtol)
    as_given = {"check_dtype": False}
    dt.testing.assert_close(one.to(dtype), dt.tensor(inside), **as_given)
    with pytest.raises(AssertionError, match="1 of 1 elements differ"):
        dt.testing.assert_close(dt.tensor(outside), one.to(dtype), **as_given)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dt.tensor([1.0]), dt.tensor([1.0], dtype="f64")),
        (dt.tensor([1.0]), dt.tensor([1.0, 1.0])),
        (dt.tensor([1.0]), dt.tensor([[1.0]])),
        (dt.tensor([float("nan")]), dt.tensor([float("nan")])),
        (dt.tensor([float("inf")]), dt.tensor([3e38])),
        (dt.tensor([float("inf")]), dt.tensor([-float("inf")])),
        (dt.tensor([2**62]), dt.tensor([2**62 + 1])),
        (dt.tensor([True]), dt.tensor([False])),
        ([dt.tensor([1.0])], [dt.tensor([1.0]), dt.tensor([1.0])]),
        ({"a": dt.tensor([1.0])}, {"b": dt.tensor([1.0])}),
        ({"a": [1.0]}, {"a": [1.1]}),
        (dt.tensor([1.0]), [dt.tensor([1.0])]),
    ],
)
def test_what_is_not_close(one, other):
    with pytest.raises(AssertionError):
        dt.testing.assert_close(one, other)


def test_what_is_close():
    x = dt.tensor([float("nan"), float("inf"), 1.0, 0.0])
    dt.testing.assert_close(x, x.clone(), equal_nan=True)
    dt.testing.assert_close(dt.tensor([2**62]), dt.tensor([2**62]))
    dt.testing.assert_close({"a": (dt.tensor([1.0]), 2.0)}, {"a": (np.float32([1.0]), 2.0)})
    dt.testing.assert_close(dt.tensor([]), dt.tensor([]))
    dt.testing.assert_close(dt.tensor([1.0]), dt.tensor([1.4]), rtol=0, atol=0.5)


def test_the_report_names_the_greatest_differences_and_their_places():
    with pytest.raises(AssertionError) as caught:
        dt.testing.assert_close([dt.tensor([[1.0, 2.0], [3.0, 100.0]])], [dt.tensor([[1.5, 2.0], [3.0, 90.0]])])
    text = str(caught.value)
    assert text.startswith("at [0]: 2 of 4 elements differ by more than 1e-05 + 1.3e-06 · |expected|")
    assert "greatest absolute difference: 10 at (1, 1): 100.0 and 90.0" in text
    assert "greatest relative difference: 0.333333 at (0, 0): 1.0 and 1.5" in text
    with pytest.raises(AssertionError, match=r"^my words$"):
        dt.testing.assert_close(dt.tensor([1.0]), dt.tensor([2.0]), msg="my words")


def test_tolerances_come_in_pairs():
    with pytest.raises(ValueError, match="expected rtol and atol together"):
        dt.testing.assert_close(dt.tensor([1.0]), dt.tensor([1.0]), rtol=0.1)
    with pytest.raises(ValueError, match="at least 0"):
        dt.testing.assert_close(dt.tensor([1.0]), dt.tensor([1.0]), rtol=-1, atol=0)
