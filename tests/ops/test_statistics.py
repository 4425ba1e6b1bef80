"""Variance, standard deviation and norms against NumPy, with gradients at their corners."""

from __future__ import annotations

from math import inf

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
