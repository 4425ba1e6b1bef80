"""Running sums against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.random.default_rng(2).normal(size=(3, 4, 2))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumsum_is_numpys(axis):
    np.testing.assert_allclose(F.cumsum(tensor(X), axis).numpy(), np.cumsum(X, axis))
    backwards = np.flip(np.cumsum(np.flip(X, axis), axis), axis)
    np.testing.assert_allclose(F.cumsum(tensor(X), axis, reverse=True).numpy(), backwards)


def test_integers_add_up_in_s64():
    result = F.cumsum(tensor(np.full(4, 100), dtype="s8"), 0)
    assert result.dtype.tag == "s64" and result.tolist() == [100, 200, 300, 400]


def test_short_floats_add_up_in_f32():
    assert F.cumsum(tensor(np.ones(4096), dtype="f16"), 0).numpy()[-1] == 4096


def test_a_number_has_no_second_axis():
    with pytest.raises(ValueError, match=r"cumsum: expected an axis in \[-1, 1\), got 1"):
        F.cumsum(tensor(1.0), 1)


def numeric_gradient(function, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """d Σ weights · function(x) / dx by central differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        found[place] = ((function(x + step) - function(x - step)) * weights).sum() / 2e-6
    return found


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("zeros", [0, 1, 2, 5])
def test_cumprod_is_numpys_also_beside_zeros(axis, zeros):
    x = X.copy()
    x.reshape(-1)[3 : 3 + 4 * zeros : 4] = 0.0
    leaf = tensor(x, dtype="f64", requires_grad=True)
    result = F.cumprod(leaf, axis)
    np.testing.assert_allclose(result.numpy(), np.cumprod(x, axis))
    weights = np.random.default_rng(zeros).normal(size=x.shape)
    (result * tensor(weights, dtype="f64")).sum().backward()
    np.testing.assert_allclose(
        leaf.grad.numpy(), numeric_gradient(lambda x: np.cumprod(x, axis), x, weights), atol=1e-7
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 17])
def test_cumprod_of_every_length_has_a_gradient_of_the_second_order(size):
    x = np.random.default_rng(size).uniform(0.5, 1.5, size)
    leaf = tensor(x, dtype="f64", requires_grad=True)
    (first,) = dt.grad(F.cumprod(leaf, 0).sum(), [leaf], create_graph=True)
    (second,) = dt.grad((first * first).sum(), [leaf])

    def squared(x):
        gradient = numeric_gradient(lambda y: np.cumprod(y), x, np.ones_like(x))
        return np.array((gradient**2).sum())

    np.testing.assert_allclose(second.numpy(), numeric_gradient(squared, x, np.array(1.0)), rtol=2e-2, atol=2e-2)


def test_cumprod_goes_on_from_where_it_stands():
    """A zero in front keeps what would overflow behind it."""
    assert F.cumprod(tensor([0.0, 1e300, 1e300], dtype="f64"), 0).tolist() == [0.0] * 3
    assert F.cumprod(tensor([2, 3], dtype="s8"), 0).dtype.tag == "s64"
    assert F.cumprod(tensor([1.0, 2.0]), dim=0, dtype="f64").dtype.tag == "f64"
    with pytest.raises(ValueError, match=r"cumprod: expected an axis in \[-1, 1\), got 1"):
        F.cumprod(tensor(1.0), 1)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_diff_is_numpys(n, axis):
    np.testing.assert_allclose(F.diff(tensor(X, dtype="f64"), n, axis).numpy(), np.diff(X, min(n, X.shape[axis]), axis))


def test_diff_of_others():
    assert F.diff(tensor([3, 1, 5]), prepend=tensor([0]), append=tensor([5, 4])).tolist() == [3, -2, 4, 0, -1]
    assert F.diff(tensor([True, False, False])).tolist() == [True, False]
    assert F.diff(tensor([[1], [4]]), dim=0).tolist() == [[3]]
    leaf = tensor([1.0, 4.0, 2.0], requires_grad=True)
    (F.diff(leaf) * tensor([2.0, 3.0])).sum().backward()
    assert leaf.grad.tolist() == [-2.0, -1.0, 3.0]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_long_running_sum_is_as_exact_as_the_sum(reverse):
    x = np.random.default_rng(0).random(1_000_000).astype(np.float32)
    exact = np.cumsum(x[::-1], dtype=np.float64)[::-1] if reverse else np.cumsum(x, dtype=np.float64)
    found = F.cumsum(tensor(x), 0, reverse=reverse).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, exact.astype(np.float32))
    ones = F.ones(3000, dtype="f16")
    assert F.cumsum(ones, 0)[2047:2052].tolist() == [2048, 2048, 2050, 2052, 2052]


def test_a_long_running_product_is_as_exact():
    x = np.full(100_000, 1 + 2.0**-20, np.float32)
    np.testing.assert_allclose(F.cumprod(tensor(x), 0)[-1].item(), (1 + 2.0**-20) ** 100_000, rtol=1e-7)
    assert F.cumprod(tensor([1e30, 1e30, 0.0]), 0).tolist() == [pytest.approx(1e30), np.inf, 0]


def test_running_sums_of_infinities_are_quiet():
    assert str(F.cumsum(tensor([1.0, np.inf, -np.inf, 3e38]), 0).tolist()) == "[1.0, inf, nan, nan]"
    assert F.cumsum(tensor([3e38, 3e38, -3e38]), 0).tolist()[1:] == [np.inf, pytest.approx(3e38)]
