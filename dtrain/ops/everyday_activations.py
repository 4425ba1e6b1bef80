"""Activations and losses of everyday scripts that are composed of other ops."""

from __future__ import annotations

import math
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import ones
from dtrain.ops.activation import elu, sigmoid, softplus
from dtrain.ops.clip import clip
from dtrain.ops.diagonal import tril
from dtrain.ops.dropout import dropout
from dtrain.ops.elementwise import abs as absolute
from dtrain.ops.elementwise import exp, log, maximum, tanh
from dtrain.ops.infer import broadcast_shapes, normalize_axis
from dtrain.ops.joining import chunk
from dtrain.ops.loss_reduction import check_loss, check_reduction, reduced
from dtrain.ops.matmul import matmul
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.shape import broadcast_to, transpose
from dtrain.ops.softmax import softmax
from dtrain.ops.statistics import root
from dtrain.ops.where import where

# Klambauer et al. 2017: with these, activations keep mean 0 and variance 1.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to [min_val, max_val]."""
    return clip(x, min_val, max_val)


@rounded_once
def mish(x: Tensor) -> Tensor:
    """x · tanh(log(1 + eˣ)) (Misra 2019)."""
    return x * tanh(softplus(x))


@rounded_once
def selu(x: Tensor) -> Tensor:
    """scale · (x where x > 0, else alpha · (eˣ − 1)), scaled to keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return elu(x, _SELU_ALPHA) * _SELU_SCALE


@rounded_once
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha · (e^(x/alpha) − 1)."""
    return elu(x / alpha, 1.0) * alpha


@rounded_once
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + absolute(x))


@rounded_once
def tanhshrink(x: Tensor) -> Tensor:
    """x − tanh x."""
    return x - tanh(x)


def softmin(x: Tensor, axis: int = -1) -> Tensor:
    """`softmax` of −x."""
    return softmax(-x, axis)


@rounded_once
def glu(x: Tensor, axis: int = -1) -> Tensor:
    """First half of an axis · sigmoid of its second half (Dauphin et al. 2017)."""
    axis = normalize_axis("glu", axis, x.ndim)
    if x.shape[axis] % 2:
        raise ShapeError(expected("glu", "an axis of even size", str(x.type)))
    values, gates = chunk(x, 2, axis)
    return values * sigmoid(gates)


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


# Losses ---------------------------------------------------------------------------------------------------------------


@rounded_once
def huber_loss(prediction: Tensor, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Quadratic below delta, then linear with slope delta (Huber 1964)."""
    check_loss("huber_loss", prediction, target, reduction)
    if not delta > 0:
        raise ValueError(expected("huber_loss", "delta above 0", repr(delta)))
    distance = absolute(prediction - target)
    losses = where(distance < delta, distance * distance * 0.5, delta * (distance - 0.5 * delta))
    return reduced(losses, reduction)


@rounded_once
def kl_div(prediction: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target · (log target − prediction), with log-probabilities predicted; 0 where the target is 0, NaN below it.

    Args:
        reduction: mean over all elements, sum, none; or "batchmean", the sum over the number of rows, which is the
            divergence itself.
        log_target: whether targets are log-probabilities too.
    """
    check_loss("kl_div", prediction, target, "sum" if reduction == "batchmean" else reduction)
    if log_target:
        losses = exp(target) * (target - prediction)
    else:
        # Of a target of 0 the logarithm has no part: log 1 stands there.
        losses = target * (log(where(target == 0, 1.0, target)) - prediction)
    if reduction == "batchmean":
        return sum_over(losses) / (prediction.shape[0] if prediction.ndim else 1)
    return reduced(losses, reduction)


@rounded_once
def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, *, eps: float = 1e-8) -> Tensor:
    """a·b / (max(‖a‖, eps) · max(‖b‖, eps)) along an axis of both, broadcast: length 1 along it counts as often."""
    shape = broadcast_shapes("cosine_similarity", a.shape, b.shape)
    a, b = broadcast_to(a, shape), broadcast_to(b, shape)
    norms = [maximum(root(sum_over(x * x, axis)), eps) for x in (a, b)]
    return sum_over(a * b, axis) / (norms[0] * norms[1])


@rounded_once
def margin_ranking_loss(
    a: Tensor, b: Tensor, target: Tensor, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, −target·(a − b) + margin): a shall rank above b where target is 1, below where it is −1."""
    check_reduction("margin_ranking_loss", reduction)
    return reduced(maximum(margin - as_tensor(target) * (a - b), 0.0), reduction)
