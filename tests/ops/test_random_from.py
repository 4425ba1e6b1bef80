"""Draws whose parameters are tensors: shapes, dtypes, shares, generators, errors; and the methods that draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F


def test_normal_of_tensors() -> None:
    mean, std = dt.tensor([[0.0], [10.0]]), dt.tensor([1.0, 0.0, 2.0])
    drawn = np.stack([dt.normal(mean, std).numpy() for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), np.broadcast_to(mean.numpy(), (2, 3)), atol=0.15)
    np.testing.assert_allclose(drawn.std(0), np.broadcast_to(std.numpy(), (2, 3)), atol=0.15)
    assert dt.normal(mean, 0.0).tolist() == mean.tolist() and dt.normal(3.0, std * 0).tolist() == [3.0] * 3
    assert dt.normal(dt.zeros(2, dtype="f64"), 1.0).dtype is dt.float64


def test_normal_of_numbers() -> None:
    drawn = dt.normal(5.0, 2.0, size=(4000,), dtype="f64")
    assert drawn.dtype is dt.float64 and abs(drawn.mean().item() - 5) < 0.2 and abs(drawn.std().item() - 2) < 0.2
    assert dt.normal(0, 1, (2, 3), requires_grad=True).requires_grad
    generators = dt.Generator(3), dt.Generator(3)
    first, second = (dt.normal(dt.zeros(3), 1.0, generator=each).tolist() for each in generators)
    assert first == second


def test_no_gradient_flows() -> None:
    x = dt.full((2,), 0.5, requires_grad=True)
    assert not dt.normal(x, x).requires_grad and not dt.bernoulli(x).requires_grad


@pytest.mark.parametrize("dtype", ["f16", "f32", "f64"])
def test_bernoulli(dtype: str) -> None:
    shares = dt.tensor([0.0, 0.25, 1.0]).to(dtype)
    drawn = dt.bernoulli(input=shares.broadcast_to((8000, 3)))
    assert drawn.dtype is shares.dtype and set(drawn.numpy().reshape(-1).tolist()) <= {0.0, 1.0}
    np.testing.assert_allclose(drawn.numpy().astype(np.float64).mean(0), [0.0, 0.25, 1.0], atol=0.02)
    assert dt.bernoulli(dt.zeros(5, dtype="s64"), 1.0).tolist() == [1] * 5
    assert dt.ones(3).bernoulli().tolist() == [1.0] * 3 and dt.ones(3).bernoulli(0.0).tolist() == [0.0] * 3
    generators = dt.Generator(3), dt.Generator(3)
    first, second = (dt.bernoulli(dt.full((50,), 0.5), generator=each).tolist() for each in generators)
    assert first == second


def test_traced_draws_are_the_eager_ones() -> None:
    @dt.trace
    def draw(shares: dt.Tensor) -> Any:
        return dt.bernoulli(shares), dt.normal(shares, shares)

    shares = dt.full((20,), 0.5)
    dt.manual_seed(1)
    eager = [[each.tolist() for each in (dt.bernoulli(shares), dt.normal(shares, shares))] for _ in range(2)]
    dt.manual_seed(1)
    assert [[each.tolist() for each in draw(shares)] for _ in range(2)] == eager and eager[0] != eager[1]


def test_methods_that_draw() -> None:
    ones = dt.zeros(4).bernoulli_(1.0)
    assert ones.tolist() == [1.0] * 4 and dt.zeros(2).bernoulli_(dt.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]
    assert 800 < dt.zeros(2000, dtype="s32").bernoulli_().sum().item() < 1200
    drawn = dt.zeros(3000).random_(2, 5)
    assert set(drawn.tolist()) == {2.0, 3.0, 4.0} and set(dt.zeros(99, dtype="u8").random_(2).tolist()) == {0, 1}
    assert set(dt.zeros(50, dtype="bool").random_().tolist()) == {False, True}
    assert dt.zeros(4000, dtype="s8").random_().numpy().max() > 120
    assert 2**23 < dt.zeros(100).random_().numpy().max() <= 2**24
    like = dt.randint_like(dt.zeros(2, 50), 3)
    assert like.dtype is dt.float32 and set(like.numpy().reshape(-1).tolist()) == {0.0, 1.0, 2.0}
    assert set(dt.randint_like(dt.zeros(90, dtype="s32"), low=5, high=7).tolist()) == {5, 6}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: dt.normal(dt.zeros(2), dt.tensor([1.0, -1.0])), RuntimeError, "std of at least 0"),
        (lambda: dt.normal(dt.zeros(2), -1.0), RuntimeError, "std of at least 0"),
        (lambda: dt.normal(0.0, -1.0, (2,)), RuntimeError, "std of at least 0"),
        (lambda: dt.normal(0.0, 1.0), TypeError, "a size, or a tensor"),
        (lambda: dt.normal(dt.zeros(2), 1.0, (2,)), TypeError, "size left out"),
        (lambda: dt.normal(dt.zeros(2), 1.0, dtype="f64"), TypeError, "left out beside tensors"),
        (lambda: dt.normal(dt.zeros(2), dt.zeros(3)), ValueError, "shapes that broadcast"),
        (lambda: dt.bernoulli(dt.tensor([0.5, 1.5])), RuntimeError, r"probabilities in \[0, 1\]"),
        (lambda: dt.bernoulli(dt.tensor([0.5]), -0.5), RuntimeError, r"probabilities in \[0, 1\]"),
        (lambda: dt.bernoulli(dt.tensor([1])), TypeError, "probabilities as floats"),
        (lambda: F.normal(dt.zeros(2)), ValueError, "a size or a tuple of sizes"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
