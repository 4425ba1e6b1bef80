"""Elementwise functions that are no formulas: comparisons, logic and bits as NumPy's ufuncs, which have the form of a
kernel and hand CuPy arrays on to CuPy; and those that have no result for some integers.

On f16 and bf16 they compute in f32 and round once. Each element is computed from those in its place, so that every
layout is taken as it lies, padding lanes and all.
"""

from __future__ import annotations

import numpy as np

from dtrain.base.errors import expected
from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.registry import reference

UFUNCS = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_not": np.invert,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
}

for _name, _ufunc in UFUNCS.items():
    reference(_name, layouts=LAID_OUT)(_ufunc)


def _expect_divisors(op: str, y: Array) -> None:
    if y.dtype.kind in "iu" and not y.all():
        raise ZeroDivisionError(expected(op, "integers divided by others than 0", "0", "divide floats for ∞ and NaN"))


def floor_div(x: Array, y: Array, out: Array) -> None:
    """⌊x / y⌋. Raises ZeroDivisionError for integers divided by 0."""
    _expect_divisors("floor_div", y)
    np.floor_divide(x, y, out=out)


def mod(x: Array, y: Array, out: Array) -> None:
    """x − y·⌊x / y⌋. Raises ZeroDivisionError for integers modulo 0."""
    _expect_divisors("mod", y)
    np.remainder(x, y, out=out)


def pow(x: Array, y: Array, out: Array) -> None:
    """x to the power y. Raises ValueError for integers to a negative power."""
    if y.dtype.kind == "i" and y.size and y.min() < 0:
        raise ValueError(expected("pow", "integers to powers of at least 0", str(y.min()), "cast with .to('f32')"))
    np.power(x, y, out=out)


@reference("clip", layouts=LAID_OUT)
def clip(x: Array, out: Array, *, low: float | None, high: float | None) -> None:
    """x limited to [low, high]; NaN stays."""
    if low is None:
        np.minimum(x, x.dtype.type(high), out=out)
    elif high is None:
        np.maximum(x, x.dtype.type(low), out=out)
    else:
        np.maximum(x, x.dtype.type(low), out=out)
        np.minimum(out, x.dtype.type(high), out=out)


@reference("where", layouts=LAID_OUT)
def where(condition: Array, x: Array, y: Array, out: Array) -> None:
    """x where the condition holds, else y."""
    out[...] = array_module(x).where(condition, x, y)
