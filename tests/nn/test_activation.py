"""Activation modules against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

X = np.linspace(-8, 8, 41).reshape(1, 41)
SIGMOID = 1 / (1 + np.exp(-X))
EXPONENTIAL = np.exp(X - X.max())

CASES = [
    (nn.ReLU(), np.maximum(X, 0)),
    (nn.ReLU6(), np.clip(X, 0, 6)),
    (nn.LeakyReLU(0.2), np.where(X > 0, X, 0.2 * X)),
    (nn.ELU(0.5), np.where(X > 0, X, 0.5 * np.expm1(X))),
    (nn.Sigmoid(), SIGMOID),
    (nn.Tanh(), np.tanh(X)),
    (nn.GELU(), X * 0.5 * (1 + np.vectorize(math.erf)(X / math.sqrt(2)))),
    (nn.GELU("tanh"), X * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))),
    (nn.SiLU(), X * SIGMOID),
    (nn.Hardswish(), X * np.clip(X + 3, 0, 6) / 6),
    (nn.Hardsigmoid(), np.clip(X + 3, 0, 6) / 6),
    (nn.Softplus(2.0), np.log1p(np.exp(2 * X)) / 2),
    (nn.Softplus(2.0, 1.0), np.where(2 * X > 1, X, np.log1p(np.exp(2 * X)) / 2)),
    (nn.Softplus(threshold=20), np.log1p(np.exp(X))),
    (nn.PReLU(), np.where(X > 0, X, 0.25 * X)),
    (nn.Softmax(), EXPONENTIAL / EXPONENTIAL.sum()),
    (nn.LogSoftmax(1), X - X.max() - np.log(EXPONENTIAL.sum())),
]


@pytest.mark.parametrize(
    ("layer", "wanted"), CASES, ids=lambda value: repr(value) if isinstance(value, nn.Module) else ""
)
def test_values(layer, wanted):
    result = layer(dt.tensor(X, dtype="f32"))
    np.testing.assert_allclose(result.numpy(), wanted, rtol=2e-5, atol=2e-6)
    result.backward(dt.ones_like(result)) if result.requires_grad else None


def test_slopes_of_prelu_are_trained():
    layer = nn.PReLU(3)
    layer(dt.full((2, 3), -1.0)).sum().backward()
    assert layer.weight.grad.tolist() == [-2, -2, -2]


@pytest.mark.parametrize("module", [nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU, nn.CosineSimilarity])
@pytest.mark.parametrize("axis", [True, 1.0, "1", None])
def test_an_axis_is_an_integer(module, axis):
    with pytest.raises(TypeError, match=f"{module.__name__}: expected an axis as an int"):
        module(axis)
