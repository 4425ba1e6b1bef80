"""Functions that everyday scripts use and that other ops compose: `masked_fill`, `bmm`, `lerp`, `isclose` …"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dtrain.base.dtype import int64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.clip import clip
from dtrain.ops.comparison import equal as elementwise_equal
from dtrain.ops.elementwise import abs as absolute
from dtrain.ops.elementwise import ceil, exp, floor, log, maximum, square
from dtrain.ops.infer import normalize_axis
from dtrain.ops.joining import concat
from dtrain.ops.matmul import matmul
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import Axis, mean, sum
from dtrain.ops.shape import broadcast_to, flatten, reshape, transpose
from dtrain.ops.statistics import root, std, var
from dtrain.ops.where import where


def masked_fill(x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """`value` where the mask holds, else x; of x's dtype.

    >>> masked_fill(tensor([1.0, 2.0]), tensor([True, False]), 0)
    Tensor([0., 2.], f32[2]@cpu)
    """
    shape = broadcast_to(mask, x.shape) if mask.ndim <= x.ndim else mask
    return where(shape, cast(as_tensor(value), x.dtype), x)


@rounded_once
def lerp(x: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
    """x + weight·(y − x)."""
    return x + weight * (y - x)


def _matrices(where_: str, x: Tensor, y: Tensor, *ndims: int) -> None:
    if (x.ndim, y.ndim) != ndims:
        wanted = " and ".join(f"{ndim} axes" for ndim in ndims)
        raise ShapeError(expected(where_, wanted, f"{x.type} and {y.type}", "use matmul, which broadcasts"))


def mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices."""
    _matrices("mm", a, b, 2, 2)
    return matmul(a, b)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """The products of two batches of matrices, [B, n, k] and [B, k, m]."""
    _matrices("bmm", a, b, 3, 3)
    if a.shape[0] != b.shape[0]:
        raise ShapeError(expected("bmm", "as many matrices on both sides", f"{a.type} and {b.type}", "use matmul"))
    return matmul(a, b)


def mv(a: Tensor, b: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _matrices("mv", a, b, 2, 1)
    return matmul(a, b)


@rounded_once
def addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta·x + alpha·(a @ b)."""
    product = mm(a, b)
    return (x if beta == 1 else x * beta) + (product if alpha == 1 else product * alpha)


def t(x: Tensor) -> Tensor:
    """A matrix transposed; a vector or a number as it is."""
    if x.ndim > 2:
        raise ShapeError(expected("t", "at most 2 axes", str(x.type), "use transpose"))
    return transpose(x) if x.ndim == 2 else x


def select(x: Tensor, axis: int, index: int) -> Tensor:
    """x without `axis`, at this place of it."""
    return x[(slice(None),) * normalize_axis("select", axis, x.ndim) + (index,)]


def unflatten(x: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """One axis taken apart into several of these sizes."""
    axis = normalize_axis("unflatten", axis, x.ndim)
    return reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def ravel(x: Tensor) -> Tensor:
    """All elements on one axis."""
    return flatten(x)


def numel(x: Tensor) -> int:
    """Number of elements: `x.size`."""
    return x.type.size


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along axis 1; numbers and vectors along axis 0."""
    parts = [reshape(part, 1) if part.ndim == 0 else part for part in tensors]
    return concat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along axis 0; a vector is a row."""
    return concat([reshape(part, (1, part.size)) if part.ndim < 2 else part for part in tensors], 0)


def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """One tensor for each vector, with its values along an axis of its own and repeated along the others.

    Args:
        indexing: "ij", or "xy" to exchange the first two axes.
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(expected("meshgrid", "indexing ij or xy", repr(indexing)))
    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    shape = tuple(vector.size for vector in vectors)
    grids = [
        broadcast_to(reshape(vector, tuple(-1 if i == axis else 1 for i in range(len(shape)))), shape)
        for axis, vector in enumerate(vectors)
    ]
    if indexing == "xy" and len(grids) > 1:
        return tuple(transpose(grid, 0, 1) for grid in grids)
    return tuple(grids)


# Numbers --------------------------------------------------------------------------------------------------------------


@rounded_once
def log2(x: Any) -> Tensor:
    """The logarithm to base 2."""
    return log(x) / math.log(2)


@rounded_once
def log10(x: Any) -> Tensor:
    """The logarithm to base 10."""
    return log(x) / math.log(10)


@rounded_once
def exp2(x: Any) -> Tensor:
    """2ˣ."""
    return exp(as_tensor(x) * math.log(2))


@rounded_once
def hypot(x: Tensor, y: Tensor) -> Tensor:
    """√(x² + y²); the gradient at the origin is 0."""
    x, y = as_tensor(x), as_tensor(y)
    larger = maximum(absolute(x.detach()), absolute(y.detach()))
    # Squares of numbers up to 1 stay in range; the scale cancels out of the gradient too.
    scale = where((larger > 0) & (larger < math.inf), larger, 1)
    return root(square(x / scale) + square(y / scale)) * scale


def trunc(x: Tensor) -> Tensor:
    """The integer towards zero."""
    return where(x < 0, ceil(x), floor(x)) if x.dtype.is_floating else x


@rounded_once
def frac(x: Tensor) -> Tensor:
    """What `trunc` takes away, with the sign of x."""
    return x - trunc(x)


def count_nonzero(x: Tensor, axis: Axis = None) -> Tensor:
    """How many elements are not zero; s64."""
    return sum(cast(x != 0, int64), axis)


@rounded_once
def var_mean(x: Tensor, axis: Axis = None, *, correction: int = 1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    return var(x, axis, correction=correction, keepdims=keepdims), mean(x, axis, keepdims=keepdims)


@rounded_once
def std_mean(x: Tensor, axis: Axis = None, *, correction: int = 1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    return std(x, axis, correction=correction, keepdims=keepdims), mean(x, axis, keepdims=keepdims)


@rounded_once
def isclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Where |x − y| ≤ atol + rtol·|y|; equal infinities are close, NaNs where `equal_nan` says so."""
    x, y = as_tensor(x), as_tensor(y)
    is_equal = elementwise_equal(x, y)
    # Equal infinities have no difference.
    difference = absolute(where(is_equal, 0, x) - where(is_equal, 0, y))
    close = is_equal | ((difference <= atol + rtol * absolute(y)) & (difference < math.inf))
    return close | ((x != x) & (y != y)) if equal_nan else close


def allclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(isclose(x, y, rtol, atol, equal_nan).all())


# Methods alone --------------------------------------------------------------------------------------------------------


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether shapes and all elements are equal; `x == y` compares elements."""
    return x.shape == y.shape and bool(elementwise_equal(x, y).all())


def _where(x: Tensor, condition: Tensor, y: Any) -> Tensor:
    """x where the condition holds, else y."""
    return where(condition, x, y)


def _clamp_min(x: Tensor, low: float) -> Tensor:
    """x, at least `low`."""
    return clip(x, low)


def _clamp_max(x: Tensor, high: float) -> Tensor:
    """x, at most `high`."""
    return clip(x, None, high)


install_methods(
    {
        function.__name__.removeprefix("_"): function
        for function in (
            masked_fill, lerp, mm, bmm, mv, addmm, t, select, unflatten, ravel, numel, log2, log10, exp2, hypot, trunc,
            frac, count_nonzero, isclose, allclose, _equal, _where, _clamp_min, _clamp_max,
        )
    }
)  # fmt: skip
