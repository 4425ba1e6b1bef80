"""Losses between predictions and targets of one shape."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.activation import relu
from dtrain.ops.binary import maximum, minimum
from dtrain.ops.loss_reduction import check_loss, check_reduction, check_shapes, reduced
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.statistics import norm
from dtrain.ops.unary import abs, exp, log, square
from dtrain.ops.where import where


@rounded_once
def mse_loss(prediction: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(prediction − target)².

    >>> mse_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    Tensor(2., f32[]@cpu)
    """
    check_loss("mse_loss", prediction, target, reduction)
    return reduced(square(prediction - target), reduction)


@rounded_once
def l1_loss(prediction: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """|prediction − target|.

    >>> l1_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    Tensor(1., f32[]@cpu)
    """
    check_loss("l1_loss", prediction, target, reduction)
    return reduced(abs(prediction - target), reduction)


@rounded_once
def smooth_l1_loss(prediction: Tensor, target: Tensor, *, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """d² / (2·beta) for d = |prediction − target| below beta, then d − beta/2; `l1_loss` for a beta of 0."""
    check_loss("smooth_l1_loss", prediction, target, reduction)
    if not beta >= 0:
        raise ValueError(expected("smooth_l1_loss", "beta of at least 0", str(beta)))
    distance = abs(prediction - target)
    if beta == 0:
        return reduced(distance, reduction)
    losses = where(distance < beta, square(distance) * (0.5 / beta), distance - 0.5 * beta)
    return reduced(losses, reduction)


@rounded_once
def hinge_loss(prediction: Tensor, target: Tensor, *, norm: str = "L1", reduction: str = "mean") -> Tensor:
    """max(0, 1 − t·p) for targets of ±1; squared with norm "L2"."""
    check_loss("hinge_loss", prediction, target, reduction)
    if norm not in ("L1", "L2"):
        raise ValueError(expected("hinge_loss", "norm 'L1' or 'L2'", repr(norm)))
    margins = relu(1 - prediction * target)
    return reduced(margins if norm == "L1" else square(margins), reduction)


@rounded_once
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor − positive| − |anchor − negative| + margin), |·| the p-norm over the last axis.

    Args:
        eps: added to each difference under the norm, which so has a slope where the two are equal.
        swap: take |positive − negative| instead of |anchor − negative| where it is smaller (Balntas et al. 2016).
    """
    check_loss("triplet_margin_loss", anchor, positive, reduction)
    check_shapes("triplet_margin_loss", anchor, negative)
    if not margin > 0:  # of 0, equal distances would satisfy the loss: all samples may fall into one point
        raise ValueError(expected("triplet_margin_loss", "a margin above 0", repr(margin)))
    near, far = norm(anchor - positive + eps, p, -1), norm(anchor - negative + eps, p, -1)
    if swap:
        far = minimum(far, norm(positive - negative + eps, p, -1))
    return reduced(relu(near - far + margin), reduction)


@rounded_once
def huber_loss(prediction: Tensor, target: Any, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Quadratic below delta, then linear with slope delta (Huber 1964)."""
    check_loss("huber_loss", prediction, target, reduction)
    if not delta > 0:
        raise ValueError(expected("huber_loss", "delta above 0", repr(delta)))
    distance = abs(prediction - target)
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
def margin_ranking_loss(
    a: Tensor, b: Tensor, target: Tensor, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, −target·(a − b) + margin): a shall rank above b where target is 1, below where it is −1."""
    check_reduction("margin_ranking_loss", reduction)
    if any(isinstance(other, Tensor) and other.ndim != a.ndim for other in (b, target)):
        given = " and ".join(str(x.type) for x in (a, b, target) if isinstance(x, Tensor))
        raise ShapeError(expected("margin_ranking_loss", "as many axes in each", given, "reshape one of them"))
    return reduced(maximum(margin - as_tensor(target) * (a - b), 0.0), reduction)
