"""Elementwise ops of one, two or three inputs, with broadcasting.

One row a unary op: name, gradient, sample range. Binary gradients undo broadcasting with `sum_to_shape`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.dtype import ALL, FLOATS, INTEGERS, bool_
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, install_methods
from dtrain.graph.op import Op, Sample, register_op
from dtrain.ops.infer import broadcast_shapes, floating
from dtrain.ops.reduction import sum_to_shape

NUMBERS = (*INTEGERS, *FLOATS)
Gradient = Tensor | None

_BINARY_SAMPLES = [
    Sample(inputs=((2, 3), (2, 3))),
    Sample(inputs=((4, 1, 3), (5, 1))),
    Sample(inputs=((), (7,))),
    Sample(inputs=((0, 3), (3,))),
]


# Binary arithmetic ----------------------------------------------------------------------------------------------------


def _binary(name: str, grad: Callable[..., Any] | None, **options: Any) -> Op:
    def infer(x: TensorType, y: TensorType) -> TensorType:
        return x.with_(shape=broadcast_shapes(name, x.shape, y.shape))

    samples = options.pop("samples", _BINARY_SAMPLES)
    return register_op(Op(name=name, infer=infer, grad=grad, promotes=True, samples=lambda: samples, **options))


def _add_grad(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    x, y = node.inputs
    return sum_to_shape(grad, x.shape), sum_to_shape(grad, y.shape)


def _subtract_grad(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    x, y = node.inputs
    return sum_to_shape(grad, x.shape), sum_to_shape(-grad, y.shape) if node.needs_grad[1] else None


def _multiply_grad(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    x, y = node.inputs
    return (
        sum_to_shape(grad * y, x.shape) if node.needs_grad[0] else None,
        sum_to_shape(grad * x, y.shape) if node.needs_grad[1] else None,
    )


def _divide_grad(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    x, y = node.inputs
    return (
        sum_to_shape(grad / y, x.shape) if node.needs_grad[0] else None,
        sum_to_shape(-grad * x / (y * y), y.shape) if node.needs_grad[1] else None,
    )


ADD = _binary("add", _add_grad, dtypes=NUMBERS)
SUBTRACT = _binary("subtract", _subtract_grad, dtypes=NUMBERS)
MULTIPLY = _binary("multiply", _multiply_grad, dtypes=NUMBERS)
DIVIDE = _binary(
    "divide",
    _divide_grad,
    samples=[
        Sample(inputs=((2, 3), (2, 3)), low=0.5, high=2.0),
        Sample(inputs=((4, 1, 3), (5, 1)), low=0.5, high=2.0),
    ],
)


def add(x: Any, y: Any) -> Tensor:
    """x + y with broadcasting and dtype promotion."""
    return apply(ADD, x, y)


def sub(x: Any, y: Any) -> Tensor:
    """x − y with broadcasting and dtype promotion."""
    return apply(SUBTRACT, x, y)


def mul(x: Any, y: Any) -> Tensor:
    """x · y with broadcasting and dtype promotion."""
    return apply(MULTIPLY, x, y)


def div(x: Any, y: Any) -> Tensor:
    """x / y with broadcasting; integers are divided as floats (f32, or f64 for s32 and wider)."""
    return apply(DIVIDE, x, y)
