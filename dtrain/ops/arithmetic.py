"""Functions of numbers that elementwise ops compose: `log2`, `hypot`, `trunc`, `lerp` …"""

from __future__ import annotations

import math
from typing import Any

from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.binary import maximum
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
    """√(x² + y²); the gradient at the origin is 0."""
    x, y = as_tensor(x), as_tensor(y)
    larger = maximum(absolute(x.detach()), absolute(y.detach()))
    # Squares of numbers up to 1 stay in range; the scale cancels out of the gradient too.
    scale = where((larger > 0) & (larger < math.inf), larger, 1)
    return root(square(x / scale) + square(y / scale)) * scale


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


install_methods({function.__name__: function for function in (log2, log10, exp2, hypot, trunc, frac, lerp)})
