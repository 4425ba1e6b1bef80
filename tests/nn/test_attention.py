"""Attention against its formula, with every option that changes what is attended to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.base.errors import ShapeError

E, HEADS, N, L, S = 8, 2, 2, 3, 4
OPTIONS = list(itertools.product((None, 5), (False, True), (False, True), (False, True)))


def _softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _attention(state, q, k, v, mask, *, zero):
    """(output, weights a head) of one sample [L, E], [S, kdim], [S, vdim]; mask[L, S] is added to the scores."""
    packed = state.get("in_proj_weight")
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    weights = np.split(packed, 3) if packed is not None else [state[name] for name in names]
    q, k, v = (x @ w.T + b for x, w, b in zip((q, k, v), weights, np.split(state["in_proj_bias"], 3)))
    if "bias_k" in state:
        k, v = np.vstack([k, state["bias_k"][0]]), np.vstack([v, state["bias_v"][0]])
    if zero:
        k, v = np.vstack([k, np.zeros((1, E))]), np.vstack([v, np.zeros((1, E))])
    mask = np.pad(mask, ((0, 0), (0, len(k) - mask.shape[1])))
    parts, shown = [], []
    for qh, kh, vh in zip(*(np.split(x, HEADS, 1) for x in (q, k, v))):
        shown.append(_softmax(qh @ kh.T / np.sqrt(E / HEADS) + mask))
        parts.append(shown[-1] @ vh)
    return np.hstack(parts) @ state["out_proj.weight"].T + state["out_proj.bias"], np.stack(shown)


def _layer(random, **options):
    layer = nn.Attention(E, HEADS, **options).to("f64")
    state = {name: random.normal(size=tensor.shape) for name, tensor in layer.state_dict().items()}
    layer.load_state_dict({name: dt.tensor(array, dtype="f64") for name, array in state.items()})
    return layer, state


@pytest.mark.parametrize(("kdim", "bias_kv", "zero", "batch_first"), OPTIONS)
def test_attention_follows_its_formula(kdim, bias_kv, zero, batch_first):
    random = np.random.default_rng(1)
    vdim = None if kdim is None else 7
    layer, state = _layer(
        random, add_bias_kv=bias_kv, add_zero_attn=zero, kdim=kdim, vdim=vdim, batch_first=batch_first
    )
    arrays = [random.normal(size=(N, length, size)) for length, size in ((L, E), (S, kdim or E), (S, vdim or E))]
    mask = random.normal(size=(L, S))
    results = [_attention(state, *sample, mask, zero=zero) for sample in zip(*arrays)]
    output, weights = (np.stack(part) for part in zip(*results))
    inputs = [dt.tensor(array if batch_first else array.swapaxes(0, 1), dtype="f64") for array in arrays]
    got, mean = layer(*inputs, mask=dt.tensor(mask, dtype="f64"), need_weights=True)
    np.testing.assert_allclose(got.numpy() if batch_first else got.numpy().swapaxes(0, 1), output, rtol=1e-10)
    np.testing.assert_allclose(mean.numpy(), weights.mean(1), rtol=1e-10)
    apart = layer(*inputs, mask=dt.tensor(mask, dtype="f64"), need_weights=True, average_attn_weights=False)[1]
    np.testing.assert_allclose(apart.numpy(), weights, rtol=1e-10)
    single, shown = layer(
        *[dt.tensor(array[0], dtype="f64") for array in arrays], mask=dt.tensor(mask), need_weights=True
    )
    np.testing.assert_allclose(single.numpy(), output[0], rtol=1e-6)
    assert shown.shape == weights[0, 0].shape
    got.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_everyone_may_attend_to_the_further_keys():
    layer, state = _layer(np.random.default_rng(2), add_bias_kv=True, add_zero_attn=True)
    x = np.random.default_rng(3).normal(size=(L, E))
    causal = np.where(np.tri(L, dtype=bool), 0.0, -np.inf)
    wanted, weights = _attention(state, x, x, x, causal, zero=True)
    given = dt.tensor(x[None], dtype="f64")
    for options in ({"is_causal": True}, {"mask": dt.tensor(np.tri(L, dtype=bool))}):
        got, shown = layer(given, need_weights=True, **options)
        np.testing.assert_allclose(got.numpy()[0], wanted, rtol=1e-10)
        np.testing.assert_allclose(shown.numpy()[0], weights.mean(0), rtol=1e-10)
        assert (shown.numpy()[0][:, -2:] > 0).all()


def test_scores_of_short_floats_are_scaled_before_they_are_summed():
    layer = nn.Attention(256, 1).to("f16")
    x = dt.tensor(np.full((1, 2, 256), 20.0), dtype="f16")
    layer.in_proj_weight.assign_(dt.tensor(np.tile(np.eye(256), (3, 1)), dtype="f16"))
    # 256 · 20² is no f16; the scores are 1/16 of it.
    assert np.isfinite(layer(x).numpy().astype(np.float32)).all()


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match="Attention: expected sizes of at least 1"):
        nn.Attention(E, HEADS, kdim=0)
    layer = nn.Attention(E, HEADS, kdim=5, batch_first=False)
    with pytest.raises(ShapeError, match=r"Attention: expected key\[length, N, 5\], got f32\[3,2,8\]"):
        layer(dt.zeros((L, N, E)))
