"""Masks of attention and Transformer layers mean what PyTorch's mean: bool True is blocked, numbers are added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.base.errors import ShapeError

N, L, E, HEADS = 2, 4, 8, 2
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((L, N, E)).astype(np.float32)
LAST = np.zeros((L, L), bool)
LAST[:, -1] = True  # nobody looks at the last
PADDING = np.zeros((N, L), bool)
PADDING[:, -1] = True
MASKS = {"pair": LAST, "pair of each head": np.stack([LAST] * N * HEADS), "padding": PADDING}
LAYER, DECODER = (kind(E, HEADS, 16, 0.0) for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer))
ATTENTION, OURS = nn.MultiheadAttention(E, HEADS), nn.Attention(E, HEADS, batch_first=False)
ENCODER, TWO = nn.TransformerEncoder(LAYER, 2), nn.TransformerDecoder(DECODER, 2)
WHOLE = nn.Transformer(E, HEADS, 1, 1, 16, 0.0)

# Where a mask goes -> the kind of mask, and a call with it, whose output at other places may not see the last input.
CALLS: dict[str, tuple[str, Any]] = {
    "attention, keyword": ("pair", lambda x, m: ATTENTION(x, x, x, attn_mask=m)[0]),
    "attention, position": ("pair", lambda x, m: ATTENTION(x, x, x, None, False, m)[0]),
    "attention, of each head": ("pair of each head", lambda x, m: ATTENTION(x, x, x, attn_mask=m)[0]),
    "attention, padding": ("padding", lambda x, m: ATTENTION(x, x, x, key_padding_mask=m)[0]),
    "attention, padding by position": ("padding", lambda x, m: ATTENTION(x, x, x, m)[0]),
    "ours, attn_mask": ("pair", lambda x, m: OURS(x, attn_mask=m)),
    "ours, padding": ("padding", lambda x, m: OURS(x, key_padding_mask=m)),
    "layer, keyword": ("pair", lambda x, m: LAYER(x, src_mask=m)),
    "layer, position": ("pair", lambda x, m: LAYER(x, m)),
    "layer, padding": ("padding", lambda x, m: LAYER(x, src_key_padding_mask=m)),
    "layer, padding by position": ("padding", lambda x, m: LAYER(x, None, m)),
    "encoder, keyword": ("pair", lambda x, m: ENCODER(x, mask=m)),
    "encoder, position": ("pair", lambda x, m: ENCODER(x, m)),
    "encoder, padding": ("padding", lambda x, m: ENCODER(x, src_key_padding_mask=m)),
    "decoder layer, target": ("pair", lambda x, m: DECODER(x, dt.tensor(X), tgt_mask=m)),
    "decoder layer, target by position": ("pair", lambda x, m: DECODER(x, dt.tensor(X), m)),
    "decoder layer, memory": ("pair", lambda x, m: DECODER(dt.tensor(X), x, memory_mask=m)),
    "decoder layer, padding": ("padding", lambda x, m: DECODER(x, dt.tensor(X), tgt_key_padding_mask=m)),
    "decoder, memory's padding": ("padding", lambda x, m: TWO(dt.tensor(X), x, memory_key_padding_mask=m)),
    "whole, source": ("pair", lambda x, m: WHOLE(x, dt.tensor(X), src_mask=m, memory_mask=m)),
    "whole, target": ("padding", lambda x, m: WHOLE(dt.tensor(X), x, tgt_key_padding_mask=m)),
}  # fmt: skip


@pytest.mark.parametrize("form", ["bool", "float"])
@pytest.mark.parametrize("name", CALLS)
def test_true_is_blocked(name: str, form: str) -> None:
    kind, call = CALLS[name]
    blocked = MASKS[kind]
    mask = dt.tensor(blocked if form == "bool" else np.where(blocked, -np.inf, 0).astype(np.float32))
    changed = X.copy()
    changed[-1] += 1
    with dt.no_grad():
        before, after = (call(dt.tensor(x), mask).numpy()[:-1] for x in (X, changed))
        seen = [call(dt.tensor(x), None).numpy()[:-1] for x in (X, changed)]
    np.testing.assert_array_equal(before, after)
    assert np.abs(seen[0] - seen[1]).max() > 1e-4


def test_our_own_word_is_true_where_attention_is_allowed() -> None:
    with dt.no_grad():
        allowed = OURS(dt.tensor(X), mask=dt.tensor(~LAST)).numpy()
        np.testing.assert_array_equal(allowed, OURS(dt.tensor(X), attn_mask=dt.tensor(LAST)).numpy())


def test_the_mask_of_later_places() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask.numpy(), np.triu(np.full((3, 3), -np.inf, np.float32), 1))
    with dt.no_grad():
        by_mask, by_word = LAYER(dt.tensor(X[:3]), mask).numpy(), LAYER(dt.tensor(X[:3]), is_causal=True).numpy()
    np.testing.assert_allclose(by_mask, by_word, rtol=1e-6)


def test_batches_are_axis_1_unless_told() -> None:
    with dt.no_grad():
        for kind in (nn.MultiheadAttention, nn.TransformerEncoderLayer):
            second, first = kind(E, HEADS), kind(E, HEADS, batch_first=True)
            first.load_state_dict(second.state_dict())
            more = () if kind is nn.TransformerEncoderLayer else (1, 2)
            x, y = dt.tensor(X), dt.tensor(X.swapaxes(0, 1))
            theirs, ours = (layer.eval()(one, *[one for _ in more]) for layer, one in ((second, x), (first, y)))
            theirs, ours = (out[0] if more else out for out in (theirs, ours))
            np.testing.assert_allclose(theirs.numpy(), ours.numpy().swapaxes(0, 1), rtol=1e-5, atol=1e-6)


def test_weights_stand_beside_the_output() -> None:
    x = dt.tensor(X)
    assert ATTENTION(x, x, x)[1].shape == (N, L, L)
    assert ATTENTION(x, x, x, average_attn_weights=False)[1].shape == (N, HEADS, L, L)
    assert ATTENTION(x, x, x, need_weights=False)[1] is None
    assert ATTENTION(x[:, 0], x[:, 0], x[:, 0])[1].shape == (L, L)


@pytest.mark.parametrize("mask", [np.zeros((L, L + 1), bool), np.zeros((N, L, L), bool), np.zeros((L, L), np.int64)])
def test_other_masks_are_refused(mask: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ShapeError, match=r"attn_mask of bool or float \[4, 4\] or \[4, 4, 4\].*True is blocked"):
        LAYER(dt.tensor(X), dt.tensor(mask))


def test_further_keys_and_other_sizes_go_through_pytorchs_positions() -> None:
    named = {"add_bias_kv": True, "add_zero_attn": True, "kdim": 5, "vdim": 7, "batch_first": False}
    layer, ours = nn.MultiheadAttention(E, HEADS, 0.0, True, True, True, 5, 7), nn.Attention(E, HEADS, **named)
    ours.load_state_dict(layer.state_dict())
    key, value = (dt.tensor(RANDOM.standard_normal((3, N, size)).astype(np.float32)) for size in (5, 7))
    y, weights = layer(dt.tensor(X), key, value)
    np.testing.assert_array_equal(y.numpy(), ours(dt.tensor(X), key, value).numpy())
    assert weights.shape == (N, L, 3 + 2)
    assert layer(dt.tensor(X), key, value, need_weights=False)[1] is None
