"""The product over axes, with gradients that are right where elements are zero: nothing here divides."""

from __future__ import annotations

from math import prod as product
from typing import Any

from dtrain.base.dtype import DTypeLike
from dtrain.core.apply import apply, cast
from dtrain.core.context import is_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.ops.joining import flip, pad
from dtrain.ops.reduction import Axis, reduce, reduced_as, spread_like
from dtrain.ops.shape import reshape, transpose
from dtrain.opset.normalization import accumulation
from dtrain.opset.product import PROD, PROD_OF_OTHERS
from dtrain.opset.reduction import Axes


@gradient_of(PROD)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    (x,), axis = node.inputs, node.attrs["axis"]
    # The op is one pass, the composition can be differentiated again.
    others = _composed_products(x, axis) if is_grad_enabled() else apply(PROD_OF_OTHERS, x, axis=axis)
    return (spread_like(node, grad) * others,)


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
