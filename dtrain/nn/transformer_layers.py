"""The layers of the Transformer (Vaswani et al. 2017), in PyTorch's conventions: batches second, True is blocked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.nn.dropout import Dropout
from dtrain.nn.linear import Linear
from dtrain.nn.module import Module
from dtrain.nn.multihead_attention import MultiheadAttention
from dtrain.nn.normalization import LayerNorm

Activation = str | Callable[[Tensor], Tensor]
_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


def activation_of(where: str, given: Activation) -> Activation:
    """What was given. Raises ValueError for a name that is none."""
    if not callable(given) and given not in _ACTIVATIONS:
        wanted = f"activation among {', '.join(_ACTIVATIONS)}, or a function"
        raise ValueError(expected(where, wanted, repr(given)))
    return given


class _Layer(Module):
    """What both layers do: residuals with dropout, and norms in front of each part or behind it."""

    self_attn: MultiheadAttention
    linear1: Linear
    linear2: Linear
    dropout: Dropout
    activation: Activation
    norm_first: bool

    def _add(self, x: Tensor, norm: Module, dropout: Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return x + dropout(part(norm(x)))  # type: ignore[no-any-return]
        return norm(x + dropout(part(x)))  # type: ignore[no-any-return]

    def _transform(self, x: Tensor) -> Tensor:
        function: Any = _ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation
        return self.linear2(self.dropout(function(self.linear1(x))))  # type: ignore[no-any-return]


class TransformerEncoderLayer(_Layer):
    """Self-attention and a two-layer network, each with residual, dropout and layer norm; [L, N, E] to [L, N, E].

    Args:
        activation: "relu", "gelu", "silu", or a function of the network's hidden tensor.
        batch_first: whether the batch is axis 0: [N, L, E].
        norm_first: normalize in front of attention and network rather than behind, which trains deep stacks better.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden_dim: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.activation, self.norm_first = activation_of("TransformerEncoderLayer", activation), norm_first
        self.self_attn = MultiheadAttention(embed_dim, num_heads, dropout, bias, batch_first=batch_first)
        self.linear1, self.linear2 = Linear(embed_dim, hidden_dim, bias=bias), Linear(hidden_dim, embed_dim, bias=bias)
        self.norm1, self.norm2 = (LayerNorm(embed_dim, layer_norm_eps, bias=bias) for _ in range(2))
        self.dropout, self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout), Dropout(dropout)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The encoded `src`.

        Args:
            src_mask: [L, L] or [N · heads, L, L]; bool True where attention is *blocked*, else added to the scores.
            src_key_padding_mask: [N, L]; bool True at padding, else added.
            is_causal: position i attends to positions up to i only.
        """

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]  # type: ignore[no-any-return]

        src = self._add(src, self.norm1, self.dropout1, attend)
        return self._add(src, self.norm2, self.dropout2, self._transform)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to what an encoder gave, and a two-layer network; tgt[L, N, E] to [L, N, E].

    Arguments are those of `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden_dim: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.activation, self.norm_first = activation_of("TransformerDecoderLayer", activation), norm_first
        self.self_attn, self.multihead_attn = (
            MultiheadAttention(embed_dim, num_heads, dropout, bias, batch_first=batch_first) for _ in range(2)
        )
        self.linear1, self.linear2 = Linear(embed_dim, hidden_dim, bias=bias), Linear(hidden_dim, embed_dim, bias=bias)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(embed_dim, layer_norm_eps, bias=bias) for _ in range(3))
        self.dropout, self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout) for _ in range(4))

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """`tgt` decoded beside `memory`[S, N, E]; masks as in `TransformerEncoderLayer`: bool True is *blocked*."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]  # type: ignore[no-any-return]

        def look(x: Tensor) -> Tensor:
            masks = (memory_key_padding_mask, False, memory_mask)
            return self.multihead_attn(x, memory, memory, *masks, is_causal=memory_is_causal)[0]  # type: ignore[no-any-return]

        tgt = self._add(tgt, self.norm1, self.dropout1, attend)
        tgt = self._add(tgt, self.norm2, self.dropout2, look)
        return self._add(tgt, self.norm3, self.dropout3, self._transform)
