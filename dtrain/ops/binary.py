"""Elementwise arithmetic of two inputs with broadcasting. The ops follow from the rows of `kernels/formula/table.py`.

Integers are taken as f32 where the result is not an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from dtrain.base.errors import expected
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.cast import as_floating
from dtrain.ops.unary import square
from dtrain.opset.formulas import OPS

Result = TypeVar("Result")


ADD, SUB, MUL, DIV, FLOOR_DIV, MOD = (OPS[name] for name in ("add", "sub", "mul", "div", "floor_div", "mod"))
POW, MAXIMUM, MINIMUM, ATAN2 = (OPS[name] for name in ("pow", "maximum", "minimum", "atan2"))


def add(x: Any, y: Any, *, alpha: float = 1) -> Tensor:
    """x + alpha·y with broadcasting and dtype promotion.

    >>> add(tensor([1.0, 2.0]), 10)
    Tensor([11., 12.], f32[2]@cpu)
    """
    return apply(ADD, x, y if alpha == 1 else mul(y, alpha))


def sub(x: Any, y: Any, *, alpha: float = 1) -> Tensor:
    """x − alpha·y with broadcasting and dtype promotion."""
    return apply(SUB, x, y if alpha == 1 else mul(y, alpha))


def mul(x: Any, y: Any) -> Tensor:
    """x · y with broadcasting and dtype promotion."""
    return apply(MUL, x, y)


def div(x: Any, y: Any, *, rounding_mode: Literal["floor", "trunc"] | None = None) -> Tensor:
    """x / y with broadcasting; integers are divided in f32.

    `rounding_mode` "floor" is `floor_div`, "trunc" rounds towards zero; integers stay integers then, the gradient is 0.

    >>> div(tensor([1, 2]), 2)
    Tensor([0.5, 1. ], f32[2]@cpu)
    """
    if rounding_mode is None:
        return apply(DIV, *_as_floats(x, y))
    if rounding_mode == "floor":
        return floor_div(x, y)
    if rounding_mode != "trunc":
        raise ValueError(expected("div", "rounding_mode 'floor', 'trunc' or None", repr(rounding_mode)))
    from dtrain.ops.rounding import divide_towards_zero

    return divide_towards_zero(x, y)


def floor_div(x: Any, y: Any) -> Tensor:
    """⌊x / y⌋ with broadcasting; gradient 0. Integers stay integers, and dividing them by 0 raises ZeroDivisionError.

    >>> floor_div(tensor([7, -7]), 2)
    Tensor([ 3, -4], s64[2]@cpu)
    """
    return apply(FLOOR_DIV, x, y)


def mod(x: Any, y: Any) -> Tensor:
    """x − y·⌊x / y⌋, which has the sign of y, as Python's %. Integers modulo 0 raise ZeroDivisionError.

    >>> mod(tensor([5.0, -5.0]), 3)
    Tensor([2., 1.], f32[2]@cpu)
    """
    return apply(MOD, x, y)


def pow(x: Any, y: Any) -> Tensor:
    """x to the power y. 0⁰ is 1; the gradient is 0 where x or y makes the result constant.

    Raises ValueError for an integer to a negative integer power.

    >>> pow(tensor([2.0, 3.0]), 2)
    Tensor([4., 9.], f32[2]@cpu)
    """
    if isinstance(x, Tensor) and isinstance(y, int | float) and y == 2:
        return square(x)
    return apply(POW, x, y)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of x and y, NaN if either is; equal ones share the gradient.

    >>> maximum(tensor([1.0, 5.0]), tensor([3.0, 2.0]))
    Tensor([3., 5.], f32[2]@cpu)
    """
    return apply(MAXIMUM, x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of x and y, NaN if either is; equal ones share the gradient."""
    return apply(MINIMUM, x, y)


def atan2(y: Any, x: Any) -> Tensor:
    """The angle in (−π, π] of the point (x, y)."""
    return apply(ATAN2, *_as_floats(y, x))


def _as_floats(x: Any, y: Any) -> tuple[Any, Any]:
    """The pair with at least one float in it: what promotion then gives both."""
    if isinstance(x, Tensor) and x.type.dtype.is_floating:
        return x, y
    if isinstance(y, Tensor) and y.type.dtype.is_floating:
        return x, y
    # Numbers stay as they are: they are weak, and take the dtype of the tensor beside them.
    if isinstance(x, Tensor):
        return as_floating(x), as_floating(y) if isinstance(y, Tensor) else y
    return (x, as_floating(y)) if isinstance(y, Tensor) else (as_floating(x), y)


def _quotients(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """`divmod(x, y)` of elements: (⌊x / y⌋, what is left)."""
    return floor_div(x, y), mod(x, y)


def _power(x: Any, y: Any, modulus: Any = None) -> Tensor:
    if modulus is not None:
        raise TypeError(expected("pow()", "a base and an exponent", "a modulus besides", "write x**y % modulus"))
    return pow(x, y)


def _reversed(function: Callable[[Any, Any], Result]) -> Callable[[Any, Any], Result]:
    return lambda x, y: function(y, x)


def _itself(x: Tensor) -> Tensor:
    return x


install_methods(
    {
        "__add__": add,
        "__radd__": _reversed(add),
        "__sub__": sub,
        "__rsub__": _reversed(sub),
        "__mul__": mul,
        "__rmul__": _reversed(mul),
        "__truediv__": div,
        "__rtruediv__": _reversed(div),
        "__floordiv__": floor_div,
        "__rfloordiv__": _reversed(floor_div),
        "__mod__": mod,
        "__rmod__": _reversed(mod),
        "__divmod__": _quotients,
        "__rdivmod__": _reversed(_quotients),
        "__pow__": _power,
        "__rpow__": _reversed(pow),
        "__pos__": _itself,
        "pow": pow,
    }
)
