"""The Transformer (Vaswani et al. 2017): stacks of its layers, in PyTorch's conventions."""

from __future__ import annotations

import copy
import math
from typing import Any

import dtrain.functional as F
from dtrain.base.device import CPU, DeviceLike
from dtrain.base.dtype import DTypeLike, float32
from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.nn import init
from dtrain.nn.attention import causal_mask
from dtrain.nn.containers import ModuleList
from dtrain.nn.module import Module
from dtrain.nn.normalization import LayerNorm
from dtrain.nn.transformer_layers import Activation, TransformerDecoderLayer, TransformerEncoderLayer


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after another, and a norm behind them if given."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """The encoded `src`; `mask` is each layer's src_mask: bool True where attention is *blocked*, else added."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after another, and a norm behind them if given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """`tgt` decoded beside `memory`; masks as in `TransformerEncoderLayer`: bool True is *blocked*."""
        padding = (tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, *padding, bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder: src[S, N, E] and tgt[T, N, E] to [T, N, E]; embeddings and the last layer are yours.

    Args:
        custom_encoder, custom_decoder: modules to take in the place of the stacks made here.
        batch_first: whether batches are axis 0.
    """

    def __init__(
        self,
        embed_dim: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        hidden_dim: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        sizes = (embed_dim, num_heads, hidden_dim)
        rest: Any = (dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.encoder = (
            custom_encoder
            if custom_encoder is not None
            else TransformerEncoder(
                TransformerEncoderLayer(*sizes, *rest),
                num_encoder_layers,
                LayerNorm(embed_dim, layer_norm_eps, bias=bias),
            )
        )
        self.decoder = (
            custom_decoder
            if custom_decoder is not None
            else TransformerDecoder(
                TransformerDecoderLayer(*sizes, *rest),
                num_decoder_layers,
                LayerNorm(embed_dim, layer_norm_eps, bias=bias),
            )
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """`tgt` decoded beside the encoded `src`; masks as in `TransformerEncoderLayer`: bool True is *blocked*."""
        if src.shape[-1] != self.embed_dim or tgt.shape[-1] != self.embed_dim:
            given = f"{src.type} and {tgt.type}"
            raise ValueError(expected("Transformer", f"src and tgt with {self.embed_dim} features", given))
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        padding = (tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, *padding, tgt_is_causal, memory_is_causal)  # type: ignore[no-any-return]

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: DeviceLike | None = None, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Float [sz, sz] to add to scores: 0 where the key is not later than the query, −∞ elsewhere."""
        place = CPU if device is None else device
        allowed = causal_mask(sz, sz, place)
        nothing = F.zeros((sz, sz), dtype=dtype or float32, device=place)
        return F.where(allowed, nothing, -math.inf)
