"""Decoder layers, stacks and the whole Transformer: what reaches which part."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

RANDOM = np.random.default_rng(0)
TGT, MEMORY = (dt.tensor(RANDOM.standard_normal((5, 2, 8)), dtype="f32") for _ in range(2))
BLOCKED = dt.tensor(~np.tri(5, dtype=bool))


def _decoder_layer(**options: Any) -> Any:
    return nn.TransformerDecoderLayer(8, 2, 16, **options).eval()


def _transformer() -> Any:
    return nn.Transformer(8, 2, 1, 1, 16).eval()


MODULES = {
    "layer": (_decoder_layer, ("tgt", "memory")),
    "stack": (lambda: nn.TransformerDecoder(_decoder_layer(), 2), ("tgt", "memory")),
    "transformer": (_transformer, ("src", "tgt", "memory")),
}


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, (_, parts) in MODULES.items() for part in parts])
def test_is_causal_blocks_what_its_mask_blocks(name, part):
    module = MODULES[name][0]()
    masked = module(TGT, MEMORY, **{f"{part}_mask": BLOCKED}).numpy()
    np.testing.assert_allclose(module(TGT, MEMORY, **{f"{part}_is_causal": True}).numpy(), masked, atol=1e-6)
    assert np.abs(module(TGT, MEMORY).numpy() - masked).max() > 1e-3


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.TransformerEncoderLayer(8, 2, 16), (TGT,)),
        (nn.TransformerDecoderLayer(8, 2, 16), (TGT, MEMORY)),
    ],
)
def test_every_dropout_of_a_layer_is_passed_once(layer, inputs):
    passed: Counter[str] = Counter()
    dropouts = [name for name, module in layer.named_modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) == 2 + len(inputs)
    for name in dropouts:
        layer.get_module(name).register_forward_hook(lambda *_, name=name: passed.update([name]))
    layer(*inputs)
    assert passed == dict.fromkeys(dropouts, 1)


def test_the_norm_of_a_stack_comes_last():
    norm = nn.LayerNorm(8)
    norm.weight.assign_(dt.full((8,), 3.0))
    decoder, encoder = _decoder_layer(), nn.TransformerEncoderLayer(8, 2, 16).eval()
    for stack, layer, inputs in (
        (nn.TransformerDecoder, decoder, (TGT, MEMORY)),
        (nn.TransformerEncoder, encoder, (TGT,)),
    ):
        without = stack(layer, 2)(*inputs)
        np.testing.assert_allclose(stack(layer, 2, norm)(*inputs).numpy(), norm(without).numpy(), atol=1e-6)


def test_layers_of_a_transformer_begin_apart():
    model = nn.Transformer(8, 2, 2, 2, 16)
    for stack in (model.encoder, model.decoder):
        first, second = (layer.linear1.weight.numpy() for layer in stack.layers)
        assert np.abs(first - second).max() > 1e-2
        assert np.abs(first).max() <= np.sqrt(6 / (8 + 16))


def test_layers_of_a_stack_are_copies():
    for stack in (
        nn.TransformerDecoder(_decoder_layer(), 2),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2),
    ):
        assert stack.layers[0].linear1.weight is not stack.layers[1].linear1.weight


def test_stacks_of_somebody_else():
    encoder, decoder = nn.Identity(), nn.Identity()
    model = nn.Transformer(8, 2, custom_encoder=encoder, custom_decoder=decoder)
    assert model.encoder is encoder and model.decoder is decoder


def test_inputs_of_another_size():
    model = _transformer()
    for src, tgt in ((TGT[..., :4], TGT), (TGT, TGT[..., :4])):
        with pytest.raises(ValueError, match="src and tgt with 8 features"):
            model(src, tgt)


def test_padding_of_one_sample():
    layer = nn.MultiheadAttention(8, 2)
    padding = dt.tensor(np.arange(5) > 2)
    one, weights = layer(TGT[:, 0], TGT[:, 0], TGT[:, 0], key_padding_mask=padding)
    batch, _ = layer(TGT[:, :1], TGT[:, :1], TGT[:, :1], key_padding_mask=padding[None])
    np.testing.assert_allclose(one.numpy(), batch.numpy()[:, 0], atol=1e-6)
    assert np.all(weights.numpy()[:, 3:] == 0)
