"""Variance, standard deviation, norms: composed of reductions, so that gradients of every order follow.

Roots have no slope at 0; there the gradients of all of these are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import Any

from dtrain.base.dtype import int64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.binary import pow as power
from dtrain.ops.cast import as_floating
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import max as largest
from dtrain.ops.reduction import mean
from dtrain.ops.reduction import min as smallest
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.unary import abs as absolute
from dtrain.ops.unary import sqrt, square
from dtrain.ops.where import where
from dtrain.opset.infer import normalize_axes

Axis = int | Sequence[int] | None


@rounded_once
def var(x: Any, axis: Axis = None, *, correction: float | None = 1, keepdims: bool = False) -> Tensor:
    """Σ (x − mean)² / (n − correction) over `axis`: two passes, so that a large mean costs no digits.

    Raises ShapeError unless more than `correction` elements lie along the reduced axes.

    >>> var(tensor([1.0, 2.0, 6.0]))
    Tensor(7., f32[]@cpu)
    """
    return _var("var", x, axis, correction, keepdims)


@rounded_once
def std(x: Any, axis: Axis = None, *, correction: float | None = 1, keepdims: bool = False) -> Tensor:
    """The square root of `var`. The gradient where all elements are equal is 0."""
    return root(_var("std", x, axis, correction, keepdims))


def _axis_and_correction(axis: Any, correction: float | None) -> tuple[Axis, float | None]:
    """`var(unbiased)`: PyTorch takes the flag in the place of the axis."""
    return (None, int(axis)) if isinstance(axis, bool) else (axis, correction)


def _var(op: str, x: Any, axis: Axis, correction: float | None, keepdims: bool) -> Tensor:
    values = as_floating(x)
    axis, correction = _axis_and_correction(axis, correction)
    correction = 1 if correction is None else correction
    if not isinstance(correction, int | float):
        raise TypeError(expected(op, "correction as a number", f"{correction!r}", "1 is the usual one"))
    count = prod(values.shape[i] for i in normalize_axes(op, axis, values.ndim))
    if count == 0:
        given = f"{values.type} reduced over {'all axes' if axis is None else f'axis {axis}'}"
        raise ShapeError(expected(op, "at least one element along the reduced axes", given))
    if count <= correction:
        given = f"{count} in {values.type}"
        raise ShapeError(expected(op, f"more than {correction} elements (correction)", given, "pass correction=0"))
    deviation = values - mean(values, axis, keepdims=True)
    return sum_over(square(deviation), axis, keepdims=keepdims) / (count - correction)


def root(total: Tensor, order: float = 2) -> Tensor:
    """total^(1/order) with slope 0 at 0: a root of 1 stands there, multiplied by 0."""
    is_zero = total == 0
    positive = where(is_zero, 1.0, total)
    return where(is_zero, 0.0, sqrt(positive) if order == 2 else power(positive, 1 / order))


@rounded_once
def norm(x: Any, ord: float | str = 2, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """(Σ |x|^ord)^(1/ord) over `axis`; ord may be ∞ (the largest |x|), −∞ (the least) or 0 (how many are not 0).

    The gradient at 0 is 0.

    >>> norm(tensor([3.0, 4.0]))
    Tensor(5., f32[]@cpu)
    """
    values = as_floating(x)
    if ord == "fro":
        ord = 2
    if not isinstance(ord, int | float):
        raise TypeError(expected("norm", "ord as a number", repr(ord), "norms are of vectors: 2, 1, inf, 0, …"))
    axis = normalize_axes("norm", axis, values.ndim)
    if ord == 2:
        return root(sum_over(square(values), axis, keepdims=keepdims))
    sizes = absolute(values)
    if ord == 1:
        return sum_over(sizes, axis, keepdims=keepdims)
    if ord == inf:
        return largest(sizes, axis, keepdims=keepdims)
    if ord == -inf:
        return smallest(sizes, axis, keepdims=keepdims)
    if ord == 0:
        return sum_over(where(values != 0, 1.0, values * 0), axis, keepdims=keepdims)
    return _general_norm(values, sizes, ord, axis, keepdims)


def _general_norm(values: Tensor, sizes: Tensor, ord: float, axis: Axis, keepdims: bool) -> Tensor:
    """m · (Σ (|x| / m)^ord)^(1/ord): the size m keeps powers in range, and cancels out of the gradient too."""
    if values.size == 0:
        return sum_over(sizes, axis, keepdims=keepdims)
    extreme = (largest if ord > 0 else smallest)(sizes.detach(), axis, keepdims=True)
    scale = where((extreme > 0) & (extreme < inf), extreme, 1.0)
    scaled = sizes / scale
    # |x|^ord has no slope at 0 for ord below 1, and |x| none for any.
    is_zero = values == 0
    powers = where(is_zero, 0.0 if ord > 0 else inf, power(where(is_zero, 1.0, scaled), ord))
    length = root(sum_over(powers, axis, keepdims=True), ord) * scale
    return length if keepdims else sum_over(length, axis)


@rounded_once
def normalize(x: Tensor, ord: float = 2, axis: int = 1, *, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x, ord, axis), eps): vectors of length 1 along `axis`."""
    length = norm(x, ord, axis, keepdims=True)
    return x / where(length < eps, eps, length)


install_methods({"var": var, "std": std, "norm": norm})


def count_nonzero(x: Tensor, axis: Axis = None) -> Tensor:
    """How many elements are not zero; s64."""
    return sum_over(cast(x != 0, int64), axis)


@rounded_once
def var_mean(
    x: Tensor, axis: Axis = None, *, correction: float | None = 1, keepdims: bool = False
) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    axis, correction = _axis_and_correction(axis, correction)
    return var(x, axis, correction=correction, keepdims=keepdims), mean(x, axis, keepdims=keepdims)


@rounded_once
def std_mean(
    x: Tensor, axis: Axis = None, *, correction: float | None = 1, keepdims: bool = False
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    axis, correction = _axis_and_correction(axis, correction)
    return std(x, axis, correction=correction, keepdims=keepdims), mean(x, axis, keepdims=keepdims)


install_methods({"count_nonzero": count_nonzero})
