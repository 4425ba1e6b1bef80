"""The encoder layer of the Transformer (Vaswani et al. 2017), batch first."""

from __future__ import annotations

import copy
from typing import Any

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.nn.attention import MultiHeadAttention
from dtrain.nn.containers import ModuleList
from dtrain.nn.dropout import Dropout
from dtrain.nn.linear import Linear
from dtrain.nn.module import Module
from dtrain.nn.normalization import LayerNorm

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class TransformerEncoderLayer(Module):
    """Self-attention and a two-layer network, each with residual, dropout and layer norm; [N, L, E] to [N, L, E].

    Args:
        norm_first: normalize in front of attention and network rather than behind, which trains deep stacks better.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden_dim: int = 2048,
        *,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
    ) -> None:
        if activation not in _ACTIVATIONS:
            raise ValueError(
                expected("TransformerEncoderLayer", f"activation among {', '.join(_ACTIVATIONS)}", repr(activation))
            )
        self.self_attn = MultiHeadAttention(embed_dim, num_heads, dropout=dropout)
        self.linear1, self.linear2 = Linear(embed_dim, hidden_dim), Linear(hidden_dim, embed_dim)
        self.norm1, self.norm2 = LayerNorm(embed_dim), LayerNorm(embed_dim)
        self.dropout, self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation, self.norm_first = activation, norm_first

    def forward(self, x: Tensor, *, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        if self.norm_first:
            x = x + self._attend(self.norm1(x), mask, is_causal)
            return x + self._transform(self.norm2(x))
        x = self.norm1(x + self._attend(x, mask, is_causal))
        return self.norm2(x + self._transform(x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        return self.dropout1(self.self_attn(x, mask=mask, is_causal=is_causal))  # type: ignore[no-any-return]

    def _transform(self, x: Tensor) -> Tensor:
        hidden = self.dropout(_ACTIVATIONS[self.activation](self.linear1(x)))
        return self.dropout2(self.linear2(hidden))  # type: ignore[no-any-return]


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after another, and a norm behind them if given. Batches come first."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args, **options)
        return x if self.norm is None else self.norm(x)
