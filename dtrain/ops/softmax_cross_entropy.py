"""Softmax and cross entropy in one op, and the gradient of it, for class numbers.

Shapes: logits[N,C], targets[N] class numbers (s32 or s64), losses[N]. What users call is in `cross_entropy.py`.
"""

from __future__ import annotations

from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import arange
from dtrain.graph.op import gradient_of
from dtrain.ops.reduction import spread
from dtrain.ops.reduction import sum as sum_over
from dtrain.opset.softmax import SOFTMAX_BACKWARD
from dtrain.opset.softmax_cross_entropy import BACKWARD, SOFTMAX_CROSS_ENTROPY


@gradient_of(SOFTMAX_CROSS_ENTROPY)
def _grad(node: TapeNode, grad: Tensor | None, probabilities_grad: Tensor | None) -> tuple[Tensor | None, None]:
    targets, probabilities = node.inputs[1], node.outputs[1]
    total = None if grad is None else apply(BACKWARD, grad, probabilities, targets, **node.attrs)
    if probabilities_grad is not None:
        through = apply(SOFTMAX_BACKWARD, probabilities_grad, probabilities, axis=1)
        total = through if total is None else total + through
    return total, None


@gradient_of(BACKWARD)
def _backward_grad(node: TapeNode, next_grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """dlogits = grad · (probabilities − q), linear in both."""
    grad, probabilities, targets = node.inputs
    smoothing: float = node.attrs["label_smoothing"]
    classes = probabilities.shape[1]
    smoothed = _one_hot(targets, probabilities) * (1 - smoothing) + smoothing / max(classes, 1)
    towards_grad = sum_over(next_grad * (probabilities - smoothed), 1)
    return towards_grad, next_grad * spread(grad, (1,), probabilities.shape), None


def _one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """[N,C] ones where the column is the row's target, in the dtype of `like`."""
    classes = arange(like.shape[1], dtype=targets.dtype, device=like.device)
    return cast(spread(targets, (1,), like.shape) == classes, like.dtype)
