"""Losses between predictions and targets of one shape."""

from __future__ import annotations

from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.ops.activation import relu
from dtrain.ops.elementwise import abs, square
from dtrain.ops.loss_reduction import check_loss, check_shapes, reduced
from dtrain.ops.precision import rounded_once
from dtrain.ops.statistics import norm
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
    """d² / (2·beta) for d = |prediction − target| below beta, then d − beta/2."""
    check_loss("smooth_l1_loss", prediction, target, reduction)
    if beta <= 0:
        raise ValueError(expected("smooth_l1_loss", "a positive beta", str(beta), "use l1_loss for 0"))
    distance = abs(prediction - target)
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
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float = 1.0, p: float = 2, reduction: str = "mean"
) -> Tensor:
    """max(0, |anchor − positive| − |anchor − negative| + margin), |·| the p-norm over the last axis."""
    check_loss("triplet_margin_loss", anchor, positive, reduction)
    check_shapes("triplet_margin_loss", anchor, negative)
    near, far = norm(anchor - positive, p, -1), norm(anchor - negative, p, -1)
    return reduced(relu(near - far + margin), reduction)
