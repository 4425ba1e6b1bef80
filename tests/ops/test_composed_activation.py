"""Composed activations and losses against NumPy formulas; gradients by differences; short floats round once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError
from dtrain.kernels import using

RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((4, 6)), RNG.standard_normal((4, 6))
P = np.abs(Y) / np.abs(Y).sum(1, keepdims=True)
LOG_Q = X - np.log(np.exp(X).sum(1, keepdims=True))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any = 0.0, scale: float | None = None) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
    return softmax(scores + mask) @ v


Q, K, V = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 5, 4)), RNG.standard_normal((2, 5, 6))
CHOICE = np.array([[1, 1, 0, 0, 1], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
SELU = 1.0507009873554805, 1.6732632423543772

CASES: dict[str, tuple[Any, list[np.ndarray], Any]] = {
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 0.25), [X], X.clip(-0.5, 0.25)),
    "mish": (F.mish, [X], X * np.tanh(np.log1p(np.exp(X)))),
    "selu": (F.selu, [X], SELU[0] * np.where(X > 0, X, SELU[1] * np.expm1(X))),
    "celu": (lambda x: F.celu(x, alpha=0.7), [X], np.where(X > 0, X, 0.7 * np.expm1(X / 0.7))),
    "softsign": (F.softsign, [X], X / (1 + abs(X))),
    "tanhshrink": (F.tanhshrink, [X], X - np.tanh(X)),
    "softmin": (lambda x: F.softmin(x, dim=1), [X], softmax(-X)),
    "glu": (lambda x: F.glu(x, dim=1), [X], X[:, :3] * sigmoid(X[:, 3:])),
    "attention": (F.scaled_dot_product_attention, [Q, K, V], attention(Q, K, V)),
    "attention, causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [Q, K, V],
        attention(Q, K, V, np.where(np.tril(np.ones((3, 5))) > 0, 0, -np.inf)),
    ),
    "attention, chosen": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dt.tensor(CHOICE), scale=0.3),
        [Q, K, V],
        attention(Q, K, V, np.where(CHOICE, 0, -np.inf), 0.3),
    ),
    "attention, added": (F.scaled_dot_product_attention, [Q, K, V, X[:3, :5]], attention(Q, K, V, X[:3, :5])),
    "huber": (
        lambda x, y: F.huber_loss(input=x, target=y, delta=0.7),
        [X, Y],
        np.where(abs(X - Y) < 0.7, (X - Y) ** 2 / 2, 0.7 * (abs(X - Y) - 0.35)).mean(),
    ),
    "kl": (lambda x: F.kl_div(x, dt.tensor(P), reduction="batchmean"), [LOG_Q], (P * (np.log(P) - LOG_Q)).sum() / 4),
    "kl, zeros": (lambda x: F.kl_div(x, dt.tensor(np.eye(4, 6)), reduction="sum"), [LOG_Q], -np.trace(LOG_Q[:, :4])),
    "kl, logs": (
        lambda x, y: F.kl_div(x, y, log_target=True, reduction="none"),
        [LOG_Q, Y],
        np.exp(Y) * (Y - LOG_Q),
    ),
    "cosine": (
        F.cosine_similarity,
        [X, Y],
        (X * Y).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(Y, axis=1),
    ),
    "ranking": (
        lambda a, b: F.margin_ranking_loss(a, b, dt.tensor(np.sign(X[0] * Y[1])), margin=0.2, reduction="sum"),
        [X[0], Y[0]],
        np.maximum(0, 0.2 - np.sign(X[0] * Y[1]) * (X[0] - Y[0])).sum(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    function, arrays, wanted = CASES[name]
    inputs = [dt.tensor(array, requires_grad=True) for array in arrays]
    result = function(*inputs)
    np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-12, atol=1e-12)
    weights = np.random.default_rng(9).standard_normal(result.shape)
    (result * dt.tensor(weights)).sum().backward()
    for position, array in enumerate(arrays):
        step = np.random.default_rng(position).standard_normal(array.shape) * 1e-6
        ends = []
        for sign in (1, -1):
            moved = [dt.tensor(a + sign * step if i == position else a) for i, a in enumerate(arrays)]
            ends.append(float((function(*moved).numpy() * weights).sum()))
        slope = float((inputs[position].grad.numpy() * step).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / 2, rel=1e-5, abs=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_short_floats_round_once(name: str) -> None:
    function, arrays, _ = CASES[name]
    if name in ("ranking", "kl", "kl, zeros"):  # their targets are f64 here
        return
    short = [dt.tensor(array).to("bf16") for array in arrays]
    result = function(*short)
    wide = function(*[tensor.float() for tensor in short])
    assert result.dtype is dt.bfloat16
    np.testing.assert_array_equal(result.float().numpy(), wide.to("bf16").float().numpy())


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.Mish(inplace=True), F.mish),
        (nn.SELU(), F.selu),
        (nn.Softsign(), F.softsign),
        (nn.Tanhshrink(), F.tanhshrink),
        (nn.LogSigmoid(), F.logsigmoid),
        (nn.Hardtanh(-0.5, 0.5, True), lambda x: F.hardtanh(x, -0.5, 0.5)),
        (nn.CELU(alpha=0.7), lambda x: F.celu(x, 0.7)),
        (nn.GLU(dim=0), lambda x: F.glu(x, 0)),
        (nn.Softmin(dim=1), lambda x: F.softmin(x, 1)),
        (nn.Unflatten(dim=1, unflattened_size=(2, 3)), lambda x: x.reshape(4, 2, 3)),
        (nn.CosineSimilarity(dim=0), lambda x: F.cosine_similarity(x, x, 0)),
        (nn.HuberLoss(delta=0.5), lambda x: F.huber_loss(x, x, delta=0.5)),
        (nn.KLDivLoss(reduction="batchmean", log_target=True), lambda x: x.sum() * 0),
    ],
)
def test_layers_are_their_functions(layer: Any, function: Any) -> None:
    x = dt.tensor(X)
    takes_two = isinstance(layer, nn.CosineSimilarity | nn.HuberLoss | nn.KLDivLoss)
    result = layer(x, x) if takes_two else layer(x)
    np.testing.assert_allclose(result.numpy(), function(x).numpy(), atol=1e-12)


def test_an_encoder_has_layers_of_its_own() -> None:
    layer = nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, num_layers=2, norm=nn.LayerNorm(8))
    x = dt.randn(2, 3, 8)
    np.testing.assert_allclose(encoder(x).numpy(), encoder.norm(layer(layer(x))).numpy(), rtol=1e-5)
    assert len({id(parameter) for parameter in encoder.parameters()}) == 2 * len(list(layer.parameters())) + 2


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: F.glu(dt.zeros(3)), ShapeError),
        (lambda: F.huber_loss(dt.zeros(3), dt.zeros(3), delta=0), ValueError),
        (lambda: F.kl_div(dt.zeros(3), dt.zeros(3), reduction="men"), ValueError),
        (
            lambda: F.scaled_dot_product_attention(
                dt.zeros(1, 1), dt.zeros(1, 1), dt.zeros(1, 1), dt.zeros(1, 1), is_causal=True
            ),
            ValueError,
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
def test_large_numbers_come_back_as_they_are(dtype: str) -> None:
    """x / alpha would be infinite."""
    large = float(dt.finfo(dtype).max)
    x = dt.tensor([large, 0.0, -large], dtype=dtype, requires_grad=True)
    y = F.celu(x, alpha=0.5)
    y.sum().backward()
    assert y.tolist() == [large, 0.0, -0.5]
    assert x.grad is not None and x.grad.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("isa", ["reference", "scalar", ""])
def test_a_softsign_that_is_nan_has_no_gradient_of_zero(isa: str) -> None:
    """∞ / (1 + ∞), as in PyTorch; a slope of 0 would hide it."""
    x = dt.tensor([np.inf, -np.inf, np.nan, 3.0, 1e30], requires_grad=True)
    with using(isa=isa):
        y = F.softsign(x)
        y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), [np.nan, np.nan, np.nan, 0.75, 1.0])
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [np.nan, np.nan, np.nan, 0.0625, 0.0])
