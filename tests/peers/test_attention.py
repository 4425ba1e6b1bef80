"""Attention and Transformer layers against PyTorch's: masks of every kind, batches first and second, weights."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

# PyTorch warns of what it does slower, and of masks of two kinds.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::UserWarning")]
torch = pytest.importorskip("torch")
N, L, E, HEADS = 3, 5, 8, 2
RANDOM = np.random.default_rng(0)
LATER = np.triu(np.ones((L, L), bool), 1)
OF_HEADS = np.stack([LATER] * N * HEADS)
OF_HEADS[0, 0, 1] = False
PADDING = np.arange(L) >= np.array([[5], [3], [4]])
MASKS = {
    "none": None,
    "bool": LATER,
    "of heads": OF_HEADS,
    "infinite": np.where(LATER, -np.inf, 0).astype(np.float32),
    "added": RANDOM.standard_normal((L, L)).astype(np.float32),
}
PADDINGS = {"none": None, "bool": PADDING, "infinite": np.where(PADDING, -np.inf, 0).astype(np.float32)}
SIZES = (E, HEADS, 16, 0.0)


def pair(name: str, *args: Any, **options: Any) -> tuple[Any, Any]:
    """A layer of PyTorch and ours with its state."""
    theirs, ours = getattr(torch.nn, name)(*args, **options), getattr(nn, name)(*args, **options)
    ours.load_state_dict({key: dt.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    return theirs, ours


def compare(theirs: Any, ours: Any, *args: Any, **options: Any) -> None:
    """Call both with the same arrays."""
    results = []
    for layer, convert in ((theirs, torch.from_numpy), (ours, dt.tensor)):
        given, named = (
            [convert(x) if isinstance(x, np.ndarray) else x for x in values] for values in (args, options.values())
        )
        found = layer(*given, **dict(zip(options, named)))
        results.append(found if isinstance(found, tuple) else (found,))
    for wanted, got in zip(*results, strict=True):
        assert (wanted is None) == (got is None)
        if wanted is not None:
            np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


def example(batch_first: bool) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal((N, L, E) if batch_first else (L, N, E)).astype(np.float32)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("mask", "padding"), list(itertools.product(MASKS, PADDINGS)))
def test_attention(mask: str, padding: str, batch_first: bool) -> None:
    theirs, ours = pair("MultiheadAttention", E, HEADS, batch_first=batch_first)
    x, y = example(batch_first), example(batch_first)
    for need_weights, is_averaged in itertools.product((True, False), repeat=2):
        compare(theirs, ours, x, y, 2 * y, PADDINGS[padding], need_weights, MASKS[mask], is_averaged)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("mask", "padding"), list(itertools.product(MASKS, PADDINGS)))
def test_encoder_layer(mask: str, padding: str, batch_first: bool, norm_first: bool) -> None:
    options: dict[str, Any] = {"batch_first": batch_first, "norm_first": norm_first, "bias": not norm_first}
    theirs, ours = pair("TransformerEncoderLayer", *SIZES, "gelu", **options)
    compare(theirs, ours, example(batch_first), MASKS[mask], PADDINGS[padding])


@pytest.mark.parametrize("batch_first", [False, True])
def test_decoder_layer(batch_first: bool) -> None:
    theirs, ours = pair("TransformerDecoderLayer", *SIZES, batch_first=batch_first)
    masks = (MASKS["bool"], MASKS["added"], PADDING, PADDING[::-1].copy())
    compare(theirs, ours, example(batch_first), example(batch_first), *masks)


def test_transformer() -> None:
    theirs, ours = pair("Transformer", E, HEADS, 1, 2, 16, 0.0)
    later = torch.nn.Transformer.generate_square_subsequent_mask(L).numpy()
    np.testing.assert_array_equal(nn.Transformer.generate_square_subsequent_mask(L).numpy(), later)
    options = {"tgt_mask": later, "src_key_padding_mask": PADDING, "memory_key_padding_mask": PADDING}
    compare(theirs, ours, example(False), example(False), **options)


def test_functional_attention_has_the_other_meaning_in_both() -> None:
    """There True is allowed, in PyTorch as here."""
    import dtrain.functional as F

    q, k, v = (RANDOM.standard_normal((2, L, 4)).astype(np.float32) for _ in range(3))
    theirs = torch.nn.functional.scaled_dot_product_attention
    for mask in (~LATER, MASKS["added"]):
        compare(theirs, F.scaled_dot_product_attention, q, k, v, mask)
