"""`scatter_reduce`: sums, products, means and extremes of what is scattered to a place, as PyTorch has them.

Sums and means are made of `scatter_add`. Products and extremes are one op, whose gradients are right where elements are
0 or repeat: a product that holds a 0 has the slope of the others, equal extremes share theirs.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from dtrain.base.dtype import DType, int64
from dtrain.base.errors import DtypeError, expected
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import full, ones_like
from dtrain.graph.op import gradient_of
from dtrain.ops.binary import floor_div
from dtrain.ops.indexing import get_item
from dtrain.ops.one_element import as_vector, of_one_element
from dtrain.ops.precision import rounded_once
from dtrain.ops.where import where
from dtrain.opset.gather_scatter import GATHER, SCATTER_ADD
from dtrain.opset.infer import normalize_axis, same_dtype
from dtrain.opset.scatter_reduce import SCATTER_REDUCE

Gradient = Tensor | None
Reduce = Literal["sum", "prod", "mean", "amax", "amin"]


# Products and extremes ------------------------------------------------------------------------------------------------


@gradient_of(SCATTER_REDUCE)
def _grad(node: TapeNode, grad: Tensor) -> tuple[Gradient, None, Gradient]:
    x, index, source = node.inputs
    axis = node.attrs["axis"]
    if node.attrs["reduce"] != "prod":
        dx, dsource = _grad_of_extremes(x, index, source, node.outputs[0], grad, axis)
        return dx, None, dsource
    return (
        _grad_of_start(x, index, source, grad, axis) if node.needs_grad[0] else None,
        None,
        _grad_of_factors(x, index, source, grad, axis) if node.needs_grad[2] else None,
    )


@rounded_once
def _grad_of_start(x: Tensor, index: Tensor, source: Tensor, grad: Tensor, axis: int) -> Tensor:
    return grad * apply(SCATTER_REDUCE, ones_like(x), index, source, axis=axis, reduce="prod")


@rounded_once
def _grad_of_factors(x: Tensor, index: Tensor, source: Tensor, grad: Tensor, axis: int) -> Tensor:
    """The gradient at the place of each factor, times all others there; never 0 / 0, also of the second order."""

    def at_place(values: Tensor) -> Tensor:
        total = full(grad.shape, 0, dtype=values.dtype, device=values.device)
        return apply(GATHER, apply(SCATTER_ADD, total, index, values, axis=axis), index, axis=axis)

    is_zero = source == 0
    factors = where(is_zero, 1, source)
    product = apply(SCATTER_REDUCE, ones_like(grad), index, factors, axis=axis, reduce="prod")
    product = apply(GATHER, product, index, axis=axis)
    zeros = at_place(cast(is_zero, int64))
    # The sum of the zeros at a place is 0, and has the slope of each of them.
    sum_of_zeros = at_place(where(is_zero, source, 0))
    of_zeros = where(zeros == 1, product, where(zeros == 2, (sum_of_zeros - source) * product, 0))
    of_others = where(zeros == 0, product / factors, where(zeros == 1, sum_of_zeros * product / factors, 0))
    return apply(GATHER, grad * x, index, axis=axis) * where(is_zero, of_zeros, of_others)


@rounded_once
def _grad_of_extremes(
    x: Tensor, index: Tensor, source: Tensor, y: Tensor, grad: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    of_x = cast(x == y, grad.dtype)
    of_source = cast(source == apply(GATHER, y, index, axis=axis), grad.dtype)
    share = grad / apply(SCATTER_ADD, of_x, index, of_source, axis=axis)
    return share * of_x, apply(GATHER, share, index, axis=axis) * of_source


# The function ---------------------------------------------------------------------------------------------------------


def scatter_reduce(
    x: Tensor, axis: int, index: Tensor, source: Tensor, reduce: Reduce, *, include_self: bool = True
) -> Tensor:
    """A copy of x with out[index[i,j,k], j, k] reduced with all source[i,j,k] of that place, for axis 0, and so on.

    Args:
        index: integers in [0, x.shape[axis]), as many axes as x, no larger than `source`, and than x on other axes.
        source: of x's dtype.
        reduce: "sum", "prod", "mean" (of integers the floor), "amax" or "amin".
        include_self: without, what x has at places that are scattered to does not count.

    >>> scatter_reduce(tensor([1.0, 2.0]), 0, tensor([0, 0]), tensor([3.0, 5.0]), "mean").tolist()
    [3.0, 2.0]
    """
    x, index, source = as_tensor(x), as_vector(as_tensor(index)), as_vector(as_tensor(source))
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise ValueError(expected("scatter_reduce", "reduce sum, prod, mean, amax or amin", repr(reduce)))
    if x.ndim == 0:
        return of_one_element(scatter_reduce, x, axis, index, source, reduce, include_self=include_self)
    axis = normalize_axis("scatter_reduce", axis, x.ndim)
    if index.ndim == source.ndim and all(part <= size for part, size in zip(index.shape, source.shape)):
        source = get_item(source, tuple(slice(size) for size in index.shape))
    if not include_self:
        neutral = full((), _neutral(reduce, x.dtype), dtype=x.dtype, device=x.device)
        x = where(_counts(x, index, axis) > 0, neutral, x)
    if reduce == "mean":
        return _mean(x, index, source, axis, int(include_self))
    if reduce == "sum":
        return apply(SCATTER_ADD, x, index, source, axis=axis)
    return apply(SCATTER_REDUCE, x, index, source, axis=axis, reduce=reduce)


def _counts(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """How often each place of x is scattered to, s64."""
    none = full(x.shape, 0, dtype=int64, device=x.device)
    return apply(SCATTER_ADD, none, index, full(index.shape, 1, dtype=int64, device=x.device), axis=axis)


def _neutral(reduce: Reduce, dtype: DType) -> float:
    """What changes no result of this kind."""
    if reduce not in ("amax", "amin"):
        return int(reduce == "prod")
    if dtype.is_floating:
        return -math.inf if reduce == "amax" else math.inf
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        return limits.min if reduce == "amax" else limits.max
    return reduce == "amin"


@rounded_once
def _mean(x: Tensor, index: Tensor, source: Tensor, axis: int, own: int) -> Tensor:
    """The mean of the sources of a place and of `own` elements of x, which has 0 there for none."""
    counts = _counts(x, index, axis)
    counts = where(counts > 0, counts + own, 1)
    if x.dtype.is_floating:
        return apply(SCATTER_ADD, x, index, source, axis=axis) / counts
    if not x.dtype.is_integer:
        raise DtypeError(expected("scatter_reduce", "numbers to take means of", str(x.type), "cast with .to('f32')"))
    same_dtype("scatter_reduce", x.type, source.type)
    total = apply(SCATTER_ADD, cast(x, int64), index, cast(source, int64), axis=axis)
    return cast(floor_div(total, counts), x.dtype)
