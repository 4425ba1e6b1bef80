"""Scaled dot-product attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math

from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import ones
from dtrain.ops.diagonal import tril
from dtrain.ops.dropout import dropout
from dtrain.ops.matmul import matmul
from dtrain.ops.precision import rounded_once
from dtrain.ops.shape import transpose
from dtrain.ops.softmax import softmax
from dtrain.ops.where import where


@rounded_once
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
) -> Tensor:
    """softmax(query · keyᵀ · scale + mask) · value, over the last two axes [tokens, features].

    Args:
        attn_mask: bool, True where a query may look at a key; or numbers that are added.
        is_causal: let query i look at keys 0 to i.
        scale: 1/√features by default.
    """
    if attn_mask is not None and is_causal:
        raise ValueError(expected("scaled_dot_product_attention", "attn_mask or is_causal", "both"))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = matmul(query * factor, transpose(key, -1, -2))
    if is_causal:
        attn_mask = tril(ones((query.shape[-2], key.shape[-2]), dtype=query.dtype, device=query.device)) != 0
    if attn_mask is not None:
        is_choice = not attn_mask.dtype.is_floating
        scores = where(attn_mask, scores, -math.inf) if is_choice else scores + attn_mask
    weights = softmax(scores, -1)
    return matmul(dropout(weights, dropout_p, training=True) if dropout_p else weights, value)
