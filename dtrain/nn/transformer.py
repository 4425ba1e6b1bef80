"""Attention and the encoder layer of the Transformer (Vaswani et al. 2017), batch first."""

from __future__ import annotations

import math

import dtrain.functional as F
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.nn import init
from dtrain.nn.dropout import Dropout
from dtrain.nn.linear import Linear
from dtrain.nn.module import Module
from dtrain.nn.normalization import LayerNorm

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class MultiHeadAttention(Module):
    """Attention of query[N, L, E] to key and value[N, S, E] in num_heads parts of E; gives [N, L, E].

    in_proj_weight[3E, E] stacks the projections of query, key and value.

    Args:
        dropout: probability with which an attention weight is dropped in training.
    """

    in_proj_bias: Parameter | None

    def __init__(self, embed_dim: int, num_heads: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        if num_heads < 1 or embed_dim % num_heads:
            given = f"{embed_dim} in {num_heads} heads"
            raise ShapeError(expected("MultiHeadAttention", "embed_dim that divides into heads", given))
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.in_proj_weight = Parameter(zeros((3 * embed_dim, embed_dim)))
        self.in_proj_bias = Parameter(zeros((3 * embed_dim,))) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias)
        init.xavier_uniform_(self.in_proj_weight)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attend to `key` (default query) and `value` (default key).

        Args:
            mask: broadcast to [N, heads, L, S]; bool: True where attention is allowed, else added to the scores.
            is_causal: position i attends to positions up to i only.
        """
        q, k, v = self._project(query, key, value)
        scores = F.matmul(q, k, transpose_b=True) * (1 / math.sqrt(self.embed_dim // self.num_heads))
        if is_causal:
            scores = F.where(causal_mask(q.shape[2], k.shape[2]), scores, -math.inf)
        if mask is not None:
            scores = F.where(mask, scores, -math.inf) if mask.dtype.kind == "bool" else scores + mask
        weights = F.dropout(F.softmax(scores, -1), self.dropout, training=self.training)
        mixed = F.permute(F.matmul(weights, v), 0, 2, 1, 3)
        return self.out_proj(F.flatten(mixed, 2))  # type: ignore[no-any-return]

    def _project(self, query: Tensor, key: Tensor | None, value: Tensor | None) -> tuple[Tensor, ...]:
        key = query if key is None else key
        value = key if value is None else value
        for name, given in (("query", query), ("key", key), ("value", value)):
            if given.ndim != 3 or given.shape[2] != self.embed_dim:
                wanted = f"{name}[N, length, {self.embed_dim}]"
                raise ShapeError(expected("MultiHeadAttention", wanted, str(given.type)))
        if query is key is value:
            projected = F.chunk(F.linear(query, self.in_proj_weight, self.in_proj_bias), 3, axis=2)
        else:
            weights = F.chunk(self.in_proj_weight, 3)
            biases = (None,) * 3 if self.in_proj_bias is None else F.chunk(self.in_proj_bias, 3)
            inputs = zip((query, key, value), weights, biases)
            projected = tuple(F.linear(x, weight, bias) for x, weight, bias in inputs)
        return tuple(self._split_heads(part) for part in projected)

    def _split_heads(self, x: Tensor) -> Tensor:
        """[N, L, E] to [N, heads, L, E/heads]."""
        size = self.embed_dim // self.num_heads
        return F.permute(F.reshape(x, (x.shape[0], x.shape[1], self.num_heads, size)), 0, 2, 1, 3)

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}"


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


def causal_mask(num_queries: int, num_keys: int) -> Tensor:
    """Bool [L, S], True where the key is not later than the query."""
    return F.expand_dims(F.arange(num_queries), 1) >= F.expand_dims(F.arange(num_keys), 0)
