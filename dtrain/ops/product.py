"""The product over axes, with gradients that are right where elements are zero: nothing here divides."""

from __future__ import annotations

from math import prod as product
from typing import Any

from dtrain.base.dtype import ALL, DTypeLike
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, cast
from dtrain.core.context import is_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, install_methods
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.ops.infer import normalize_axes
from dtrain.ops.joining import flip, pad
from dtrain.ops.normalization import accumulation
from dtrain.ops.reduction import (
    EMPTY_SHAPES,
    SHAPES,
    Axes,
    Axis,
    calls_over,
    reduce,
    reduced_as,
    reduction,
    spread_like,
    widened,
)
from dtrain.ops.shape import reshape, transpose


def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    (x,), axis = node.inputs, node.attrs["axis"]
    # The op is one pass, the composition can be differentiated again.
    others = _composed_products(x, axis) if is_grad_enabled() else apply(PROD_OF_OTHERS, x, axis=axis)
    return (spread_like(node, grad) * others,)


PROD = reduction("prod", _grad, widened, calls=calls_over(SHAPES + EMPTY_SHAPES), dtypes=ALL)


def _others_infer(x: TensorType, *, axis: Axes) -> TensorType:
    normalize_axes("prod_of_others", axis, x.ndim)
    return x


PROD_OF_OTHERS = register_op(
    Op(
        name="prod_of_others",
        infer=_others_infer,
        calls=lambda: [
            Call(inputs=((2, 3, 4),), attrs={"axis": (1,)}),
            Call(inputs=((2, 3, 2),), attrs={"axis": (0, 2)}),
            Call(inputs=((),), attrs={"axis": ()}),
        ],
    )
)


def _composed_products(x: Tensor, axis: Axes) -> Tensor:
    """`prod_of_others` out of differentiable ops: products of pairs on the way up, of siblings on the way down."""
    count = product(x.shape[i] for i in axis)
    if x.size == 0:
        return x * 0
    rows, width = x.size // count, 1 << (count - 1).bit_length()
    order = (*(i for i in range(x.ndim) if i not in axis), *axis)
    moved = transpose(x, order) if x.ndim > 1 else x
    level = pad(reshape(cast(moved, accumulation(x.dtype)), (rows, count)), (0, width - count), value=1.0)
    levels = []
    while level.shape[1] > 1:
        levels.append(level)
        pairs = reshape(level, (rows, level.shape[1] // 2, 2))
        level = pairs[:, :, 0] * pairs[:, :, 1]
    others = level * 0 + 1
    for level in reversed(levels):
        siblings = flip(reshape(level, (rows, level.shape[1] // 2, 2)), 2)
        others = reshape(reshape(others, (rows, others.shape[1], 1)) * siblings, level.shape)
    result = cast(reshape(others[:, :count], moved.shape), x.dtype)
    return transpose(result, tuple(order.index(i) for i in range(x.ndim))) if x.ndim > 1 else result


def prod(x: Any, axis: Axis = None, *, keepdims: bool = False, dtype: DTypeLike | None = None) -> Tensor:
    """The product over `axis`; integers and bools give s64. With a `dtype` the elements are cast to it first."""
    return reduce(PROD, x, axis, keepdims) if dtype is None else reduced_as(PROD, x, axis, keepdims, dtype)


install_methods({"prod": prod})
