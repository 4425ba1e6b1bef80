"""PyTorch's call of attention: batches second unless told otherwise, and weights beside the output."""

from __future__ import annotations

from typing import Any

from dtrain.core.tensor import Tensor
from dtrain.nn.attention import Attention


class MultiheadAttention(Attention):
    """`Attention` as PyTorch calls it: query[L, N, E], key[S, N, kdim], value[S, N, vdim] to [L, N, E].

    Bool masks are True where attention is *blocked*. Parameters have the same names and layouts as PyTorch's.

    Args:
        batch_first: whether the batch is axis 0.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__(
            embed_dim,
            num_heads,
            dropout=dropout,
            bias=bias,
            add_bias_kv=add_bias_kv,
            add_zero_attn=add_zero_attn,
            kdim=kdim,
            vdim=vdim,
            batch_first=batch_first,
        )

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(output, weights), the weights [N, L, S], or [N, heads, L, S] not averaged; None if not needed.

        Args:
            key_padding_mask: [N, S], or [S] of one sample; bool True at keys to leave out, else added to the scores.
            attn_mask: [L, S] or [N · heads, L, S]; bool True where attention is blocked, else added.
            is_causal: position i attends to positions up to i only, beside what the masks say.
        """
        options: dict[str, Any] = {"average_attn_weights": average_attn_weights, "is_causal": is_causal}
        found = super().forward(
            query,
            key,
            value,
            attn_mask=attn_mask,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            **options,
        )
        return found if need_weights else (found, None)
