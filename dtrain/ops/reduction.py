"""Reductions over axes: sum, mean, max, min, any, all, logsumexp, and what is composed of them.

`spread` undoes the shape of a reduction (a view), `sum_to_shape` undoes broadcasting: each is the other's gradient.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from math import prod as product
from typing import Any

from dtrain.base.dtype import FLOATS, INTEGERS, DTypeLike, as_dtype, float32, float64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.layout import PLAIN
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply, cast
from dtrain.core.relayout import relayout
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import Op, get_op, gradient_of
from dtrain.ops.cast import as_floating
from dtrain.opset.infer import normalize_axes
from dtrain.opset.reduction import ALL_OF, ANY, LOGSUMEXP, MAX, MEAN, MIN, SPREAD, SUM, SUM_TO_SHAPE, Axes

Axis = int | Sequence[int] | None
NUMBERS = (*INTEGERS, *FLOATS)


# Shapes there and back ------------------------------------------------------------------------------------------------


@gradient_of(SUM_TO_SHAPE)
def _sum_to_shape_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (spread(grad, (), node.inputs[0].shape),)


def sum_to_shape(x: Tensor, shape: Shape) -> Tensor:
    """Sum over the axes along which `shape` was broadcast to the shape of `x`: the gradient of broadcasting.

    What is laid out is summed in logical order, without its padding lanes; an image among the sums lies as x does.
    """
    if x.shape == shape:
        return x
    summed = apply(SUM_TO_SHAPE, relayout(x, PLAIN), shape=shape)
    return relayout(summed, x.type.layout) if len(shape) == 4 else summed


@gradient_of(SPREAD)
def _spread_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    source = node.inputs[0].shape
    axis = node.attrs["axis"]
    return (apply(SUM, grad, axis=axis, keepdims=False) if axis else sum_to_shape(grad, source),)


def spread(x: Tensor, axis: Axes, shape: Shape) -> Tensor:
    """The result of a reduction over `axis` (without keepdims) repeated along those axes up to `shape`; a view.

    Without axes this is plain broadcasting.
    """
    return x if x.shape == shape else apply(SPREAD, x, axis=axis, shape=shape)


def spread_like(node: TapeNode, reduced: Tensor) -> Tensor:
    """A result (or gradient) of the node's reduction, repeated to the shape of its input."""
    axis = () if node.attrs["keepdims"] else node.attrs["axis"]
    return spread(reduced, axis, node.inputs[0].shape)


def _count(node: TapeNode) -> int:
    return product(node.inputs[0].shape[axis] for axis in node.attrs["axis"])


# The reductions -------------------------------------------------------------------------------------------------------


@gradient_of(SUM)
def _sum_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (spread_like(node, grad),)


@gradient_of(MEAN)
def _mean_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    # In f16 counts above 65504 are infinite, and in both short floats few are exact.
    wide = cast(grad, float64 if grad.dtype is float64 else float32)
    return (spread_like(node, cast(wide / builtins.max(_count(node), 1), grad.dtype)),)


@gradient_of(MAX, MIN)
def _extremum_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    """Equal extrema share the gradient evenly."""
    (x,), (y,) = node.inputs, node.outputs
    hits = cast(x.detach() == spread_like(node, y.detach()), x.dtype)
    shares = hits / apply(SUM, hits, axis=node.attrs["axis"], keepdims=True)
    return (spread_like(node, grad) * shares,)


@gradient_of(LOGSUMEXP)
def _logsumexp_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    (x,), (y,) = node.inputs, node.outputs
    return (spread_like(node, grad) * apply(get_op("exp"), x - spread_like(node, y)),)


def reduce(op: Op, x: Any, axis: Axis, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    return apply(op, tensor, axis=normalize_axes(op.name, axis, tensor.ndim), keepdims=keepdims)


def reduced_as(op: Op, x: Any, axis: Axis, keepdims: bool, dtype: DTypeLike) -> Tensor:
    """A reduction of the elements in another dtype, and its result in that dtype."""
    wanted = as_dtype(dtype)
    return cast(reduce(op, cast(as_tensor(x), wanted), axis, keepdims), wanted)


def _expect_elements(name: str, x: Any, axis: Axis) -> Tensor:
    tensor = as_tensor(x)
    if builtins.any(tensor.shape[i] == 0 for i in normalize_axes(name, axis, tensor.ndim)):
        raise ShapeError(expected(name, "at least one element along each reduced axis", str(tensor.type)))
    return tensor


def sum(x: Any, axis: Axis = None, *, keepdims: bool = False, dtype: DTypeLike | None = None) -> Tensor:
    """Σ over `axis` (an int, several, or None for all). Integers and bools give s64; f16 and bf16 add up in f32.

    With a `dtype` the elements are cast to it first, and so is the sum.

    >>> sum(tensor([[1, 2], [3, 4]]), 0)
    Tensor([4, 6], s64[2]@cpu)
    """
    return reduce(SUM, x, axis, keepdims) if dtype is None else reduced_as(SUM, x, axis, keepdims, dtype)


def mean(x: Any, axis: Axis = None, *, keepdims: bool = False, dtype: DTypeLike | None = None) -> Tensor:
    """The average over `axis`. Integers are averaged in f32. NaN where there is nothing to average.

    With a `dtype`, of floats, the elements are cast to it first.

    >>> mean(tensor([1.0, 2.0, 6.0]))
    Tensor(3., f32[]@cpu)
    """
    if dtype is not None and not as_dtype(dtype).is_floating:
        raise DtypeError(expected("mean", "a floating dtype", as_dtype(dtype).tag, "cast the mean with .to(dtype)"))
    values = as_tensor(x) if dtype is None else cast(as_tensor(x), as_dtype(dtype))
    return reduce(MEAN, as_floating(values), axis, keepdims)


def max(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`, NaN if there is one. Equal maxima share the gradient evenly.

    >>> max(tensor([[1.0, 2.0], [4.0, 3.0]]), 1)
    Tensor([2., 4.], f32[2]@cpu)
    """
    return reduce(MAX, _expect_elements("max", x, axis), axis, keepdims)


def min(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`, NaN if there is one. Equal minima share the gradient evenly."""
    return reduce(MIN, _expect_elements("min", x, axis), axis, keepdims)


def any(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether any element over `axis` is not zero; bool."""
    return reduce(ANY, x, axis, keepdims)


def all(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether every element over `axis` is not zero; bool."""
    return reduce(ALL_OF, x, axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """log Σ exp(x) over `axis`, without overflow for large x. Integers and bools give f32.

    >>> logsumexp(tensor([1000.0, 1000.0]))
    Tensor(1000.6932, f32[]@cpu)
    """
    return reduce(LOGSUMEXP, as_floating(_expect_elements("logsumexp", x, axis)), axis, keepdims)


# The methods `max` and `min` stand in extremum.py: with an axis they also say where.
install_methods({"sum": sum, "mean": mean, "any": any, "all": all, "logsumexp": logsumexp})
