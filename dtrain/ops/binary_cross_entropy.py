"""Cross entropy of yes or no: of probabilities, and of logits."""

from __future__ import annotations

from math import inf
from typing import Any

from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import gradient_of
from dtrain.ops.activation import softplus
from dtrain.ops.binary import maximum
from dtrain.ops.loss_reduction import as_target, check_loss, reduced
from dtrain.ops.precision import rounded_once
from dtrain.ops.unary import log, log1p
from dtrain.ops.where import where
from dtrain.opset.binary_cross_entropy import BINARY_CROSS_ENTROPY

# log(0) counts as −100, and p · (1 − p) below the gradient's fraction as at least 1e-12: PyTorch's limits.
LEAST_LOG, LEAST_VARIANCE = -100.0, 1e-12


@rounded_once
def _prediction_grad(grad: Tensor, p: Tensor, target: Tensor) -> Tensor:
    return grad * (p - target) / maximum(p * (1 - p), LEAST_VARIANCE)


@rounded_once
def _target_grad(grad: Tensor, p: Tensor) -> Tensor:
    return grad * (maximum(log1p(-p), LEAST_LOG) - maximum(log(p), LEAST_LOG))


@gradient_of(BINARY_CROSS_ENTROPY)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    p, target = node.inputs
    return (
        _prediction_grad(grad, p, target) if node.needs_grad[0] else None,
        _target_grad(grad, p) if node.needs_grad[1] else None,
    )


@rounded_once
def binary_cross_entropy(
    prediction: Tensor, target: Tensor, *, weight: Tensor | float | None = None, reduction: str = "mean"
) -> Tensor:
    """−t·log(p) − (1 − t)·log(1 − p) for probabilities p; log(0) counts as −100.

    After a sigmoid, `binary_cross_entropy_with_logits` is exact where this one saturates.

    Args:
        weight: multiplies each loss; broadcasts.

    Raises ValueError for a prediction outside [0, 1]: at once, or when a traced graph runs.
    """
    check_loss("binary_cross_entropy", prediction, target, reduction)
    losses = apply(BINARY_CROSS_ENTROPY, prediction, as_target(prediction, target))
    return reduced(losses if weight is None else losses * weight, reduction)


@rounded_once
def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | float | None = None,
    pos_weight: Tensor | float | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross entropy of sigmoid(logits), exact for logits of any size.

    t · softplus(−x) + (1 − t) · softplus(x): a sum of terms of one sign, so that nothing cancels.

    Args:
        weight: multiplies each loss; broadcasts.
        pos_weight: multiplies the first term; broadcasts.
    """
    check_loss("binary_cross_entropy_with_logits", logits, target, reduction)
    share = as_target(logits, target)
    positive, negative = _weighted(share, softplus(-logits)), _weighted(1 - share, softplus(logits))
    losses = (positive if pos_weight is None else positive * pos_weight) + negative
    return reduced(losses if weight is None else losses * weight, reduction)


def _weighted(share: Tensor, value: Tensor) -> Any:
    """share · value, where a share of 0 of ∞ is 0."""
    return share * where((share == 0) & (value == inf), 0.0, value)
