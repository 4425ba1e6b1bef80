"""The small Transformer: masks, limits, training."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.model_training import check_training

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.models.transformer import TransformerClassifier, small_transformer

TOKENS = np.random.default_rng(0).integers(0, 50, (8, 12))


def test_masked_tokens_do_not_change_the_others():
    model = TransformerClassifier(50, 3, embed_dim=16, num_heads=2, hidden_dim=32, dropout=0.0).eval()
    changed = TOKENS.copy()
    changed[:, -4:] = 7
    mask = dt.tensor(np.arange(12) < 8)
    with dt.no_grad():
        first, second = (_hidden(model, tokens, ~mask)[:, :8].numpy() for tokens in (TOKENS, changed))
        unmasked = _hidden(model, changed, None)[:, :8].numpy()
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - unmasked).max() > 1e-6


def _hidden(model, tokens, padding):
    x = model.token_embedding(dt.tensor(tokens))
    for layer in model.layers:
        x = layer(x, src_key_padding_mask=None if padding is None else F.broadcast_to(padding, tokens.shape))
    return x


@pytest.mark.parametrize("shape", [(12,), (1, 12), (1, 1, 1, 12)])
def test_a_mask_is_true_at_tokens_to_attend_to(shape):
    """In the model the layers' own masks, where True is blocked, do not show."""
    model = TransformerClassifier(50, 3, embed_dim=16, num_heads=2, hidden_dim=32, dropout=0.0).eval()
    everything, nothing = dt.tensor(np.ones(shape, bool)), dt.tensor(np.arange(12) < 0)
    with dt.no_grad():
        plain, all_seen = model(dt.tensor(TOKENS)), model(dt.tensor(TOKENS), everything)
        assert np.isnan(model(dt.tensor(TOKENS), nothing).numpy()).all()
    np.testing.assert_array_equal(plain.numpy(), all_seen.numpy())


def test_too_long_sequences_are_refused():
    with pytest.raises(ShapeError, match=r"tokens\[N, L\] with L at most 256, got s64\[1,300\]"):
        small_transformer()(dt.zeros((1, 300), dtype="s64"))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_it_trains(dropout):
    labels = TOKENS[:, 0] % 10
    check_training(lambda: small_transformer(50, dropout=dropout), TOKENS, labels, steps=8, lr=0.05)
