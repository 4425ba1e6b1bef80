"""The fully connected layer as one op: x·wᵀ + b."""

from __future__ import annotations

from math import prod

from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import gradient_of
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.shape import reshape
from dtrain.opset.linear import LINEAR
from dtrain.opset.matmul import MATMUL


@gradient_of(LINEAR)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = node.inputs[:2]
    need = node.needs_grad
    # No −1: it cannot be worked out where a feature axis is empty.
    count = prod(x.shape[:-1])
    rows = (x, grad) if x.ndim == 2 else (reshape(x, (count, x.shape[-1])), reshape(grad, (count, grad.shape[-1])))
    dx = apply(MATMUL, rows[1], weight, transpose_a=False, transpose_b=False) if need[0] else None
    if dx is not None and x.ndim != 2:
        dx = reshape(dx, x.shape)
    dweight = apply(MATMUL, rows[1], rows[0], transpose_a=True, transpose_b=False) if need[1] else None
    if len(node.inputs) == 2:
        return dx, dweight
    return dx, dweight, sum_to_shape(grad, node.inputs[2].shape) if need[2] else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x·weightᵀ + bias.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out], or None.
    """
    return apply(LINEAR, x, weight) if bias is None else apply(LINEAR, x, weight, bias)
