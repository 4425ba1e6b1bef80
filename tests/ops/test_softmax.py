"""Softmax and log-softmax: values, any axis, large and masked entries, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.random.default_rng(0).normal(size=(3, 4, 5))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_follows_its_formula(axis):
    wanted = np.exp(X) / np.exp(X).sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(F.softmax(tensor(X), axis).numpy(), wanted)
    np.testing.assert_allclose(F.log_softmax(tensor(X), axis).numpy(), np.log(wanted))


def test_large_and_masked_entries():
    x = tensor([[1e4, 1e4, -np.inf], [-1e4, -1e4 - 1, -1e4]], dtype="f64", requires_grad=True)
    y = F.softmax(x, 1)
    np.testing.assert_allclose(y.numpy()[0], [0.5, 0.5, 0.0])
    np.testing.assert_allclose(y.numpy().sum(axis=1), 1)
    (y * y).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_log_softmax_is_exact_where_softmax_rounds_to_zero():
    x = tensor([[0.0, 2000.0]])
    assert F.softmax(x).tolist() == [[0.0, 1.0]]
    assert F.log_softmax(x).tolist() == [[-2000.0, 0.0]]


def test_f16_is_computed_in_f32():
    x = np.linspace(-1, 1, 100).astype(np.float16)
    wide = x.astype(np.float64)
    wanted = np.exp(wide) / np.exp(wide).sum()
    np.testing.assert_allclose(F.softmax(tensor(x)).numpy().astype(np.float64), wanted, rtol=2**-10)


def test_a_scalar_is_all_there_is():
    assert F.softmax(tensor(3.0)).item() == 1 and F.softmax(tensor(3.0), 0).shape == ()
    with pytest.raises(ValueError, match="softmax: expected"):
        F.softmax(tensor(1.0), 1)
