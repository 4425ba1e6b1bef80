"""Variance, standard deviation and norms against NumPy, with gradients at their corners."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.random.default_rng(1).normal(size=(3, 4))


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, (0, 1)], ids=str)
def test_var_and_std_are_numpys(axis, correction):
    for name in ("var", "std"):
        got = getattr(F, name)(tensor(X), axis, correction=correction, keepdims=True).numpy()
        np.testing.assert_allclose(got, getattr(np, name)(X, axis=axis, ddof=correction, keepdims=True))


def test_a_large_mean_costs_no_digits():
    x = (X + 1e4).astype(np.float32)
    np.testing.assert_allclose(F.var(tensor(x)).item(), np.var(x.astype(np.float64), ddof=1), rtol=1e-5)


def test_var_of_too_few_elements():
    with pytest.raises(ValueError, match=r"var: expected more than 1 elements \(correction\), got 1 in f64\[3,1\]@cpu"):
        F.var(tensor(X[:, :1]), 1)


@pytest.mark.parametrize("ord", [0, 1, 2, 3, 0.5, inf, -inf])
@pytest.mark.parametrize("axis", [0, 1])
def test_vector_norms_are_numpys(ord, axis):
    np.testing.assert_allclose(F.norm(tensor(X), ord, axis).numpy(), np.linalg.norm(X, ord, axis))


def test_norm_of_a_whole_tensor():
    np.testing.assert_allclose(F.norm(tensor(X)).item(), np.sqrt((X * X).sum()))


def test_gradient_of_the_norm_at_zero_is_zero():
    x = tensor(np.zeros(3), requires_grad=True)
    F.norm(x).backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_normalize_makes_unit_vectors_and_leaves_zero_alone():
    rows = F.normalize(tensor(np.vstack([X, np.zeros(4)]))).numpy()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0])


@pytest.mark.parametrize("ord", [0.5, 1, 2, 3, inf])
def test_gradients_at_zero(ord):
    """That of every norm is 0; normalizing divides by the constant eps there."""
    x = tensor(np.zeros(2), requires_grad=True)
    F.norm(x, ord).backward()
    assert x.grad.tolist() == [0.0, 0.0]
    x.grad = None
    F.normalize(x[None], ord, eps=0.5).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradient_of_std_where_all_are_equal_is_zero():
    x = tensor([[2.0, 2.0], [1.0, 3.0]], requires_grad=True)
    F.std(x, 1).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], [-(0.5**0.5), 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize("ord", [3, 0.5, -1, -2.5, 20, 400])
def test_gradient_of_norms_of_any_order_and_size(ord):
    """d‖x‖/dx = sign(x) · (|x| / ‖x‖)^(p − 1); powers of large numbers stay in range."""
    values = np.array([300.0, -400.0, 150.0])
    x = tensor(values, requires_grad=True)
    length = F.norm(x, ord)
    length.backward()
    scale = np.abs(values).max() if ord > 0 else np.abs(values).min()
    wanted = scale * (np.abs(values / scale) ** ord).sum() ** (1 / ord)
    np.testing.assert_allclose(length.item(), wanted, rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), np.sign(values) * (np.abs(values) / wanted) ** (ord - 1), rtol=1e-9)


def test_short_floats_reach_the_ends_of_their_range():
    assert F.normalize(tensor([[300.0, 400.0]], dtype="f16")).tolist() == [[0.60009765625, 0.7998046875]]
    assert F.norm(tensor([300.0, 400.0], dtype="f16")).item() == 500
    assert F.std(tensor([0.0, 1000.0, 0.0, 0.0], dtype="f16")).item() == 500
    np.testing.assert_allclose(F.norm(tensor([1e-4] * 4, dtype="f16")).item(), 2e-4, rtol=1e-3)


def test_what_is_missing_is_named():
    with pytest.raises(
        ValueError, match=r"var: expected at least one element .*, got f32\[0,3\]@cpu reduced over axis 0"
    ):
        F.var(tensor(np.zeros((0, 3), np.float32)), 0, correction=0)
    with pytest.raises(ValueError, match=r"std: expected at least one element .* over all axes"):
        F.std(tensor(np.zeros((0, 3))))


def test_gradient_of_cosine_similarity_of_a_zero_vector_is_finite():
    x, y = tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True), tensor([[1.0, 2.0], [3.0, 4.0]])
    F.cosine_similarity(x, y, eps=0.5).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    np.testing.assert_allclose(F.hypot(tensor([300.0], dtype="f16"), tensor([400.0], dtype="f16")).tolist(), [500.0])
    sides = [inf, nan, -inf, nan, inf, 1.0, 0.0], [nan, -inf, 3.0, nan, inf, inf, nan]
    for dtype in ("f16", "bf16", "f32", "f64"):
        got = F.hypot(*(tensor(side, dtype=dtype) for side in sides)).tolist()
        np.testing.assert_array_equal(got, np.hypot(*sides))
    z = tensor([0.0], requires_grad=True)
    F.hypot(z, tensor([0.0])).backward()
    assert z.grad.tolist() == [0.0]
