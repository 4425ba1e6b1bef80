"""Variance, standard deviation, norms: composed of reductions, so that gradients of every order follow."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.cast import as_floating
from dtrain.ops.elementwise import abs as absolute
from dtrain.ops.elementwise import pow as power
from dtrain.ops.elementwise import sqrt, square
from dtrain.ops.infer import normalize_axes
from dtrain.ops.reduction import max as largest
from dtrain.ops.reduction import mean
from dtrain.ops.reduction import min as smallest
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.where import where

Axis = int | Sequence[int] | None


def var(x: Any, axis: Axis = None, *, correction: int = 1, keepdims: bool = False) -> Tensor:
    """Σ (x − mean)² / (n − correction) over `axis`: two passes, so that a large mean costs no digits.

    Raises ShapeError unless more than `correction` elements lie along the reduced axes.

    >>> var(tensor([1.0, 2.0, 6.0]))
    Tensor(7., f32[]@cpu)
    """
    values = as_floating(x)
    count = prod(values.shape[i] for i in normalize_axes("var", axis, values.ndim))
    if count <= correction:
        given = f"{count} in {values.type}"
        raise ShapeError(expected("var", f"more than {correction} elements (correction)", given, "pass correction=0"))
    deviation = values - mean(values, axis, keepdims=True)
    return sum_over(square(deviation), axis, keepdims=keepdims) / (count - correction)


def std(x: Any, axis: Axis = None, *, correction: int = 1, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return sqrt(var(x, axis, correction=correction, keepdims=keepdims))


def norm(x: Any, ord: float = 2, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """(Σ |x|^ord)^(1/ord) over `axis`; ord may be ∞ (the largest |x|), −∞ (the least) or 0 (how many are not 0).

    The gradient of the 2-norm at 0 is 0.

    >>> norm(tensor([3.0, 4.0]))
    Tensor(5., f32[]@cpu)
    """
    values = as_floating(x)
    if ord == 2:
        total = sum_over(square(values), axis, keepdims=keepdims)
        # √ has no slope at 0; a root of 1 there, multiplied by 0, has slope 0.
        is_zero = total == 0
        return where(is_zero, 0.0, sqrt(where(is_zero, 1.0, total)))
    sizes = absolute(values)
    if ord == 1:
        return sum_over(sizes, axis, keepdims=keepdims)
    if ord == inf:
        return largest(sizes, axis, keepdims=keepdims)
    if ord == -inf:
        return smallest(sizes, axis, keepdims=keepdims)
    if ord == 0:
        return sum_over(where(values != 0, 1.0, values * 0), axis, keepdims=keepdims)
    return power(sum_over(power(sizes, ord), axis, keepdims=keepdims), 1 / ord)


def normalize(x: Tensor, ord: float = 2, axis: int = 1, *, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x, ord, axis), eps): vectors of length 1 along `axis`."""
    length = norm(x, ord, axis, keepdims=True)
    return x / where(length < eps, eps, length)


install_methods({"var": var, "std": std, "norm": norm})
