"""Quantiles against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F

X = np.random.default_rng(3).normal(size=(4, 5, 3))


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("q", [0.0, 0.3, 1.0, [0.1, 0.5, 0.9]])
@pytest.mark.parametrize("keepdims", [False, True])
def test_is_numpys(q: Any, axis: int | None, interpolation: Any, keepdims: bool) -> None:
    share = dt.tensor(q, dtype="f64") if isinstance(q, list) else q
    found = F.quantile(dt.tensor(X, dtype="f64"), share, axis, keepdims, interpolation=interpolation)
    wanted = np.quantile(X, q, axis, keepdims=keepdims, method=interpolation)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_a_row_with_nan_gives_nan_and_infinities_stay() -> None:
    x = dt.tensor([[1.0, float("nan")], [float("inf"), float("inf")], [1.0, 3.0]])
    np.testing.assert_array_equal(dt.quantile(x, 0.5, dim=1).numpy(), [np.nan, np.inf, 2.0])


def test_gradients_reach_the_two_elements_and_the_share() -> None:
    x = dt.tensor([4.0, 1.0, 2.0], requires_grad=True)
    q = dt.tensor(0.25, requires_grad=True)
    x.quantile(q).backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.5, 0.5]
    assert q.grad is not None and q.grad.item() == 2.0


def test_traced_is_eager() -> None:
    given = dt.tensor(X), dt.tensor([0.2, 0.7])
    np.testing.assert_array_equal(dt.trace(F.quantile)(*given, 1).numpy(), F.quantile(*given, 1).numpy())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.quantile(dt.zeros(3), 1.5), RuntimeError, r"q in \[0, 1\]"),
        (lambda: F.quantile(dt.zeros(0), 0.5), ValueError, "at least one element"),
        (lambda: F.quantile(dt.tensor([1, 2]), 0.5), TypeError, "floats"),
        (lambda: F.quantile(dt.zeros(3), 0.5, interpolation="cubic"), ValueError, "interpolation of linear"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
