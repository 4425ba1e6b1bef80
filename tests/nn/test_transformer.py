"""Attention against a loop over heads, and the encoder layer."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.base.errors import ShapeError
from dtrain.nn.attention import causal_mask

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((2, 5, 8)), RANDOM.standard_normal((2, 7, 8))


def attention_loop(layer, query, key, value, allowed):
    weight, bias = layer.in_proj_weight.numpy(), layer.in_proj_bias.numpy()
    q, k, v = (x @ weight[8 * i : 8 * i + 8].T + bias[8 * i : 8 * i + 8] for i, x in enumerate((query, key, value)))
    mixed = np.zeros_like(q)
    size = 8 // layer.num_heads
    for head in range(layer.num_heads):
        part = slice(head * size, head * size + size)
        for n in range(len(q)):
            scores = q[n, :, part] @ k[n, :, part].T / np.sqrt(size)
            scores = np.where(allowed, scores, -np.inf)
            weights = np.exp(scores - scores.max(1, keepdims=True))
            mixed[n, :, part] = weights / weights.sum(1, keepdims=True) @ v[n, :, part]
    return mixed @ layer.out_proj.weight.numpy().T + layer.out_proj.bias.numpy()


@pytest.fixture
def layer():
    layer = nn.Attention(8, 2).to("f64")
    layer.in_proj_bias.array[...] = RANDOM.standard_normal(24)
    return layer


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, np.ones((5, 5), bool)),
        ({"is_causal": True}, np.tri(5, dtype=bool)),
        ({"mask": dt.tensor(np.arange(5) != 3)}, np.broadcast_to(np.arange(5) != 3, (5, 5))),
        ({"mask": dt.tensor(np.where(np.arange(5) != 3, 0, -1e30))}, np.broadcast_to(np.arange(5) != 3, (5, 5))),
    ],
)
def test_self_attention(layer, options, allowed):
    np.testing.assert_allclose(
        layer(dt.tensor(X), **options).numpy(), attention_loop(layer, X, X, X, allowed), rtol=1e-9
    )


def test_attention_to_something_else(layer):
    wanted = attention_loop(layer, X, Y, Y, np.ones((5, 7), bool))
    np.testing.assert_allclose(layer(dt.tensor(X), dt.tensor(Y)).numpy(), wanted, rtol=1e-9)
    wanted = attention_loop(layer, X, Y, 2 * Y, np.ones((5, 7), bool))
    np.testing.assert_allclose(layer(dt.tensor(X), dt.tensor(Y), dt.tensor(2 * Y)).numpy(), wanted, rtol=1e-9)


def test_causal_mask():
    assert causal_mask(3, 3).tolist() == np.tri(3, dtype=bool).tolist()


def test_errors():
    with pytest.raises(ShapeError, match="embed_dim that divides into heads, got 8 in 3 heads"):
        nn.Attention(8, 3)
    with pytest.raises(ShapeError, match=r"key\[N, length, 8\], got f32\[2,3,4\]"):
        nn.Attention(8, 2)(dt.zeros((2, 3, 8)), dt.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="activation among relu, gelu, silu, or a function, got 'step'"):
        nn.TransformerEncoderLayer(8, 2, activation="step")


@pytest.mark.parametrize("norm_first", [False, True])
def test_every_parameter_of_an_encoder_layer_gets_a_gradient(norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=norm_first, batch_first=True)
    y = layer(dt.tensor(X, dtype="f32"), is_causal=True)
    assert y.shape == X.shape
    (y * y).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and np.abs(parameter.grad.numpy()).max() > 0, name


def test_layer_norm_comes_first_or_last():
    x = dt.tensor(X, dtype="f32")
    last = nn.TransformerEncoderLayer(8, 2, 16).eval()(x).numpy()
    np.testing.assert_allclose(last.mean(-1), 0, atol=1e-5)
    first = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True).eval()(x).numpy()
    assert np.abs(first.mean(-1)).max() > 1e-2
