"""Comparisons, tests of floats, logic and bits. None has a gradient."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import ml_dtypes
import numpy as np

from dtrain.base.dtype import FLOATS, INTEGERS, bool_, float64, int64
from dtrain.core.apply import apply, cast
from dtrain.core.tensor import Tensor, install_methods
from dtrain.core.tensor_factory import full
from dtrain.graph.op import Op, get_op
from dtrain.opset.comparison import (
    BITWISE_AND,
    BITWISE_NOT,
    BITWISE_OR,
    BITWISE_XOR,
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    ISFINITE,
    ISINF,
    ISNAN,
    LEFT_SHIFT,
    LESS,
    LESS_EQUAL,
    LOGICAL_AND,
    LOGICAL_NOT,
    LOGICAL_OR,
    LOGICAL_XOR,
    NOT_EQUAL,
    RIGHT_SHIFT,
)

# Numbers beyond the range of a tensor's dtype ------------------------------------------------------------------------

_MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}
# What a comparison with a number above every element gives; below them it is the opposite for an order.
_WITH_A_GREATER = {
    "equal": False, "not_equal": True, "less": True, "less_equal": True, "greater": False, "greater_equal": False,
}  # fmt: skip
_INTEGER_LIMITS = {dtype: (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max)) for dtype in INTEGERS}
_INTEGER_LIMITS[bool_] = _INTEGER_LIMITS[int64]
_FLOAT_LIMITS = {dtype: float(ml_dtypes.finfo(dtype.numpy).max) for dtype in FLOATS}


def _compare(op: Op, x: Any, y: Any) -> Tensor:
    """A comparison can be answered for a Python number that the tensor's dtype does not hold."""
    if isinstance(y, int | float) and isinstance(x, Tensor):
        return _compare_with_number(op, op.name, x, y)
    if isinstance(x, int | float) and isinstance(y, Tensor):
        name = _MIRRORED.get(op.name, op.name)
        return _compare_with_number(get_op(name), name, y, x)
    return apply(op, x, y)


def _compare_with_number(op: Op, name: str, x: Tensor, number: float) -> Tensor:
    dtype = x.type.dtype
    if dtype.is_floating:
        if -_FLOAT_LIMITS[dtype] <= number <= _FLOAT_LIMITS[dtype] or number in (inf, -inf) or number != number:
            return apply(op, x, number)
        if abs(number) <= _FLOAT_LIMITS[float64]:
            return apply(op, cast(x, float64), number)
        # An integer beyond f64 lies between the largest number and infinity.
        if name in ("equal", "not_equal"):
            return _constant(x, name == "not_equal")
        up = {"less": "less", "less_equal": "less", "greater": "greater_equal", "greater_equal": "greater_equal"}
        down = {"less": "less_equal", "less_equal": "less_equal", "greater": "greater", "greater_equal": "greater"}
        beyond = get_op((up if number > 0 else down).get(name, name))
        return apply(beyond, x, inf if number > 0 else -inf)
    if dtype.kind == "quantized":
        return apply(op, x, number)  # which says why it takes none
    low, high = _INTEGER_LIMITS[dtype]
    if isinstance(number, float) or low <= number <= high:
        return apply(op, x, number)
    if name not in _WITH_A_GREATER:
        return apply(op, x, True)
    is_order = name not in ("equal", "not_equal")
    return _constant(x, _WITH_A_GREATER[name] is not (is_order and number < low))


def _constant(x: Tensor, answer: bool) -> Tensor:
    return full(x.shape, answer, dtype=bool_, device=x.device)


def equal(x: Any, y: Any) -> Tensor:
    """x = y, element by element; bool. NaN equals nothing."""
    return _compare(EQUAL, x, y)


def not_equal(x: Any, y: Any) -> Tensor:
    """x ≠ y, element by element; bool."""
    return _compare(NOT_EQUAL, x, y)


def less(x: Any, y: Any) -> Tensor:
    """x < y, element by element; bool.

    >>> less(tensor([1, 2, 3]), 2)
    Tensor([ True, False, False], bool[3]@cpu)
    """
    return _compare(LESS, x, y)


def less_equal(x: Any, y: Any) -> Tensor:
    """x ≤ y, element by element; bool."""
    return _compare(LESS_EQUAL, x, y)


def greater(x: Any, y: Any) -> Tensor:
    """x > y, element by element; bool."""
    return _compare(GREATER, x, y)


def greater_equal(x: Any, y: Any) -> Tensor:
    """x ≥ y, element by element; bool."""
    return _compare(GREATER_EQUAL, x, y)


def logical_and(x: Any, y: Any) -> Tensor:
    """Whether both are not zero; bool."""
    return _compare(LOGICAL_AND, x, y)


def logical_or(x: Any, y: Any) -> Tensor:
    """Whether either is not zero; bool."""
    return _compare(LOGICAL_OR, x, y)


def logical_xor(x: Any, y: Any) -> Tensor:
    """Whether exactly one is not zero; bool."""
    return _compare(LOGICAL_XOR, x, y)


def logical_not(x: Any) -> Tensor:
    """Whether it is zero; bool."""
    return apply(LOGICAL_NOT, x)


def isnan(x: Any) -> Tensor:
    """Whether it is NaN; bool."""
    return apply(ISNAN, x)


def isinf(x: Any) -> Tensor:
    """Whether it is +∞ or −∞; bool."""
    return apply(ISINF, x)


def isfinite(x: Any) -> Tensor:
    """Whether it is neither infinite nor NaN; bool."""
    return apply(ISFINITE, x)


def bitwise_and(x: Any, y: Any) -> Tensor:
    """The bits set in both; for bools, logical and."""
    return apply(BITWISE_AND, x, y)


def bitwise_or(x: Any, y: Any) -> Tensor:
    """The bits set in either; for bools, logical or."""
    return apply(BITWISE_OR, x, y)


def bitwise_xor(x: Any, y: Any) -> Tensor:
    """The bits set in exactly one; for bools, logical exclusive or."""
    return apply(BITWISE_XOR, x, y)


def bitwise_not(x: Any) -> Tensor:
    """Every bit flipped; for bools, logical not."""
    return apply(BITWISE_NOT, x)


def left_shift(x: Any, y: Any) -> Tensor:
    """x · 2^y in integers, without the bits that fall off.

    >>> left_shift(tensor([1, 3]), 2)
    Tensor([ 4, 12], s64[2]@cpu)
    """
    return apply(LEFT_SHIFT, x, y)


def right_shift(x: Any, y: Any) -> Tensor:
    """⌊x / 2^y⌋ in integers (the sign stays)."""
    return apply(RIGHT_SHIFT, x, y)


def _or_not_implemented(compare: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    """Python then falls back on identity, so that `x == None` is False, as for other objects."""
    return lambda x, y: NotImplemented if y is None or isinstance(y, str) else compare(x, y)


install_methods(
    {
        "__eq__": _or_not_implemented(equal),
        "__ne__": _or_not_implemented(not_equal),
        "__lt__": less,
        "__le__": less_equal,
        "__gt__": greater,
        "__ge__": greater_equal,
        "__and__": bitwise_and,
        "__rand__": bitwise_and,
        "__or__": bitwise_or,
        "__ror__": bitwise_or,
        "__xor__": bitwise_xor,
        "__rxor__": bitwise_xor,
        "__invert__": bitwise_not,
        "__lshift__": left_shift,
        "__rlshift__": lambda x, y: left_shift(y, x),
        "__rshift__": right_shift,
        "__rrshift__": lambda x, y: right_shift(y, x),
    }
)
