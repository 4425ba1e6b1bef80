"""What all losses share: `reduction` is "mean", "sum" or "none"; the mean over no samples is NaN."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply, as_tensors
from dtrain.core.tensor import Tensor
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.shape import broadcast_to
from dtrain.opset.reduction import MEAN

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(op: str, reduction: str) -> None:
    """Raise ValueError for a reduction that does not exist."""
    if reduction not in REDUCTIONS:
        raise ValueError(expected(op, "reduction " + ", ".join(REDUCTIONS), repr(reduction)))


def check_shapes(op: str, prediction: Tensor, target: Any) -> None:
    """Raise ShapeError unless the shapes are equal: [N] against [N,1] would give losses [N,N] that mean nothing."""
    if isinstance(target, Tensor) and target.shape != prediction.shape:
        given = f"{prediction.type} and {target.type}"
        raise ShapeError(expected(op, "prediction and target of one shape", given, "reshape one of them"))


def check_loss(op: str, prediction: Tensor, target: Any, reduction: str) -> None:
    """Both checks, for a loss between equal shapes."""
    check_reduction(op, reduction)
    check_shapes(op, prediction, target)


def as_target(prediction: Tensor, target: Any) -> Tensor:
    """A number or array beside the prediction as a tensor of its shape."""
    beside = as_tensors([prediction, target])[1]
    return beside if isinstance(target, Tensor) else broadcast_to(beside, prediction.shape)


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The mean, the sum, or all of the losses."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum_over(losses)
    return apply(MEAN, losses, axis=tuple(range(losses.ndim)), keepdims=False)
