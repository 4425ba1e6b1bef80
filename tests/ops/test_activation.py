"""Activations against their formulas, at extremes and kinks, with errors."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.linspace(-7, 7, 29)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "sigmoid": _sigmoid,
    "logsigmoid": lambda x: np.log(_sigmoid(x)),
    "silu": lambda x: x * _sigmoid(x),
    "hsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "gelu": lambda x: np.array([v * 0.5 * (1 + erf(v / sqrt(2))) for v in x]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_follow_their_formulas(name):
    np.testing.assert_allclose(getattr(F, name)(tensor(X)).numpy(), FORMULAS[name](X), rtol=1e-12, atol=1e-14)


def test_parameters():
    np.testing.assert_allclose(F.leaky_relu(tensor(X), 0.2).numpy(), np.where(X > 0, X, 0.2 * X))
    np.testing.assert_allclose(F.elu(tensor(X), 0.5).numpy(), np.where(X > 0, X, 0.5 * np.expm1(X)))
    np.testing.assert_allclose(F.softplus(tensor(X), 3.0).numpy(), np.log1p(np.exp(3 * X)) / 3)
    inner = np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)
    np.testing.assert_allclose(
        F.gelu(tensor(X), approximate="tanh").numpy(), 0.5 * X * (1 + np.tanh(inner)), atol=1e-15
    )
    with pytest.raises(TypeError, match="gelu: expected approximate 'none' or 'tanh', got 'erf'"):
        F.gelu(tensor(X), approximate="erf")


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("tag", ["f16", "f32", "f64"])
def test_extremes_neither_warn_nor_give_nan(name, tag):
    x = tensor([-3e4, -100.0, 100.0, 3e4], dtype=tag, requires_grad=True)
    y = getattr(F, name)(x)
    y.sum().backward()
    assert np.isfinite(y.numpy()).all() and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "sigmoid", "silu", "softplus", "gelu"])
def test_nan_stays(name):
    assert np.isnan(getattr(F, name)(tensor([np.nan])).item())


def test_gradients_at_the_kinks():
    for name, at, wanted in (("relu", 0.0, 0.0), ("relu6", 0.0, 0.0), ("relu6", 6.0, 0.0), ("hsigmoid", 3.0, 0.0)):
        x = tensor([at], requires_grad=True)
        getattr(F, name)(x).sum().backward()
        assert x.grad.tolist() == [wanted], name


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_prelu_has_a_slope_a_channel(shape):
    values = np.random.default_rng(0).normal(size=shape)
    weight = tensor([0.1, 0.2, 0.3], dtype="f64", requires_grad=True)
    y = F.prelu(tensor(values), weight)
    slopes = np.array([0.1, 0.2, 0.3]).reshape(3, *[1] * (len(shape) - 2))
    np.testing.assert_allclose(y.numpy(), np.where(values > 0, values, slopes * values))
    y.sum().backward()
    others = tuple(axis for axis in range(len(shape)) if axis != 1)
    np.testing.assert_allclose(weight.grad.numpy(), np.minimum(values, 0).sum(axis=others))


def test_prelu_with_one_slope_and_with_a_wrong_number_of_them():
    x = tensor([[-2.0, 4.0]])
    assert F.prelu(x, tensor([0.5])).tolist() == [[-1.0, 4.0]]
    with pytest.raises(ValueError, match="prelu: expected one weight, or one for each of the channels on axis 1"):
        F.prelu(x, tensor([0.5, 0.5, 0.5]))


def test_integers_are_refused():
    for function in (F.elu, F.silu, F.hswish):
        with pytest.raises(TypeError, match=": expected a floating dtype, got s64"):
            function(tensor([1, -1]))


def test_the_slope_of_prelu_at_0_is_that_of_below():
    for weight, shape in (([0.25], (1,)), (0.25, ()), ([0.25], ())):
        x = tensor(np.zeros(shape), requires_grad=True)
        y = F.prelu(x, tensor(np.array(weight)))
        assert y.shape == shape
        y.sum().backward()
        assert x.grad.reshape(-1).tolist() == [0.25]
    assert F.prelu(tensor(-2.0), tensor([0.5])).item() == -1.0
    weight = tensor([0.0], requires_grad=True)
    F.prelu(tensor([np.inf, -1.0]), weight).sum().backward()
    assert weight.grad.tolist() == [-1.0]


PIECEWISE = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "hsigmoid": F.hsigmoid,
    "hswish": F.hswish,
    "clip": lambda x: F.clip(x, -1.0, 1.0),
    "clip below": lambda x: F.clip(x, -1.0),
    "abs": F.abs,
    "hinge_loss": lambda x: F.hinge_loss(x, x.detach() * 0 + 1, reduction="sum"),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, x.detach() * 0, reduction="sum"),
}


@pytest.mark.parametrize("tag", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("name", PIECEWISE)
def test_nan_stays_visible_in_gradients(name, tag):
    """Enough elements for a whole vector and a rest, so that every path of the compiled kernels sees a NaN."""
    values = np.where(np.arange(37) % 3 == 0, np.nan, np.linspace(-9, 9, 37))
    x = tensor(values, dtype=tag, requires_grad=True)
    PIECEWISE[name](x).sum().backward()
    gradient = x.grad.numpy().astype(np.float64)
    np.testing.assert_array_equal(np.isnan(gradient), np.isnan(values))
