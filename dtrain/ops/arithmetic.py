"""Functions of numbers that elementwise ops compose: `log2`, `hypot`, `trunc`, `lerp` …"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from dtrain.base.promotion import common_dtype
from dtrain.core.apply import as_tensors, cast
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.binary import maximum, mod
from dtrain.ops.binary import pow as power
from dtrain.ops.cast import copy
from dtrain.ops.precision import rounded_once
from dtrain.ops.statistics import root
from dtrain.ops.unary import abs as absolute
from dtrain.ops.unary import ceil, floor, log, square
from dtrain.ops.where import where


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
    return power(2.0, x)


@rounded_once
def hypot(x: Tensor, y: Tensor) -> Tensor:
    """√(x² + y²), infinite where x or y is, beside NaN too (C99); the gradient at the origin is 0."""
    x, y = as_tensor(x), as_tensor(y)
    sides = absolute(x.detach()), absolute(y.detach())
    larger = maximum(*sides)
    # Squares of numbers up to 1 stay in range; the scale cancels out of the gradient too.
    scale = where((larger > 0) & (larger < math.inf), larger, 1)
    length = root(square(x / scale) + square(y / scale)) * scale
    return where((sides[0] == math.inf) | (sides[1] == math.inf), math.inf, length)


def trunc(x: Tensor) -> Tensor:
    """The integer towards zero; a copy of integers."""
    return where(x < 0, ceil(x), floor(x)) if x.dtype.is_floating else copy(x)


@rounded_once
def frac(x: Tensor) -> Tensor:
    """What `trunc` takes away, with the sign of x."""
    return x - trunc(x)


@rounded_once
def lerp(x: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
    """x + weight·(y − x)."""
    return x + weight * (y - x)


@rounded_once
def fmod(x: Any, y: Any) -> Tensor:
    """What is left of x / y rounded towards zero, with the sign of x; `mod` has that of y.

    >>> fmod(tensor([-3.0, 3.0]), 2).tolist()
    [-1.0, 1.0]
    """
    first, second = as_tensors([x, y])
    common = common_dtype([first.type, second.type])
    first, second = cast(first, common), cast(second, common)
    if common.kind == "unsigned":
        return mod(first, second)
    if common.is_integer:
        left = mod(first, second)
        return where((left != 0) & ((first < 0) != (second < 0)), left - second, left)
    # Of sizes, where the remainder is exact; signs are constants to the gradient.
    sign, size = where(first < 0, -1.0, 1.0), where(second < 0, -1.0, 1.0) * second
    return cast(sign, common) * mod(cast(sign, common) * first, size)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with numbers in the place of NaN and of the infinities: by default the largest and the least of the dtype.

    Their gradient is 0. Integers stay.

    >>> nan_to_num(tensor([1.0, 0.0]) / tensor([0.0, 0.0]), posinf=9.0).tolist()
    [9.0, 0.0]
    """
    tensor = as_tensor(x)
    if not tensor.dtype.is_floating:
        return copy(tensor)
    limit = float(ml_dtypes.finfo(tensor.dtype.numpy).max)
    tensor = where(tensor == math.inf, limit if posinf is None else posinf, tensor)
    tensor = where(tensor == -math.inf, -limit if neginf is None else neginf, tensor)
    return where(tensor != tensor, 0.0 if nan is None else nan, tensor)


install_methods(
    {function.__name__: function for function in (log2, log10, exp2, hypot, trunc, frac, lerp, fmod, nan_to_num)}
)
