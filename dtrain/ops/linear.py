"""The fully connected layer as one op: x·wᵀ + b."""

from __future__ import annotations

from math import prod

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.ops.infer import floating
from dtrain.ops.matmul import MATMUL
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.shape import reshape


def _infer(x: TensorType, weight: TensorType, *bias: TensorType) -> TensorType:
    floating("linear", x)
    if x.ndim < 1 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        wanted = "x[..., in] and weight[out, in]"
        advice = "the last axis of x must have the layer's in_features; flatten or transpose it"
        raise ShapeError(expected("linear", wanted, f"{x} and {weight}", advice))
    if bias and bias[0].shape != weight.shape[:1]:
        raise ShapeError(expected("linear", f"a bias of shape {weight.shape[:1]}", str(bias[0])))
    return x.with_(shape=(*x.shape[:-1], weight.shape[0]))


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


def _calls() -> list[Call]:
    return [
        Call(inputs=((3, 4), (5, 4), (5,))),
        Call(inputs=((3, 4), (5, 4))),
        Call(inputs=((2, 3, 4), (5, 4), (5,))),
        Call(inputs=((4,), (5, 4), (5,))),
        Call(inputs=((0, 4), (5, 4), (5,))),
    ]


LINEAR = register_op(Op(name="linear", infer=_infer, grad=_grad, promotes=True, calls=_calls, grad_reads="others"))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x·weightᵀ + bias.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out], or None.
    """
    return apply(LINEAR, x, weight) if bias is None else apply(LINEAR, x, weight, bias)
