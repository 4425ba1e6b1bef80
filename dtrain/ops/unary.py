"""Elementwise functions of one input, as users call them. The ops follow from rows of `kernels/formula/table.py`.

Integers are taken as f32 where the result is not an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.dtype import FLOATS
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.cast import as_floating, copy
from dtrain.opset.formulas import OPS

Unary = Callable[[Any], Tensor]


def unary(name: str, doc: str, *, keeps_integers: bool = False) -> Unary:
    """The public function of a row.

    An op for floats only takes integers as f32, or gives them back if it `keeps_integers`.
    """
    op = OPS[name]
    floats_only = op.dtypes is FLOATS

    def function(x: Any) -> Tensor:
        if keeps_integers and as_tensor(x).dtype.is_integer:
            return copy(as_tensor(x))
        return apply(op, as_floating(x) if floats_only else x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


neg = unary("neg", "−x.")
abs = unary("abs", "|x|; the gradient at 0 is 0.")
sign = unary("sign", "−1, 0 or 1.")
square = unary("square", "x².")
sqrt = unary("sqrt", "√x.")
rsqrt = unary("rsqrt", "1 / √x.")
reciprocal = unary("reciprocal", "1 / x.")
exp = unary("exp", "eˣ.")
expm1 = unary("expm1", "eˣ − 1, exact near 0.")
log = unary("log", "The natural logarithm.")
log1p = unary("log1p", "log(1 + x), exact near 0.")
_ROUNDS = "; gradient 0; integers stay."
round = unary("round", "The nearest integer, even ones at halves" + _ROUNDS, keeps_integers=True)
ceil = unary("ceil", "The least integer not below x" + _ROUNDS, keeps_integers=True)
floor = unary("floor", "The greatest integer not above x" + _ROUNDS, keeps_integers=True)
sin = unary("sin", "Sine of radians.")
cos = unary("cos", "Cosine of radians.")
tan = unary("tan", "Tangent of radians.")
asin = unary("asin", "Arc sine in radians.")
acos = unary("acos", "Arc cosine in radians.")
atan = unary("atan", "Arc tangent in radians.")
sinh = unary("sinh", "Hyperbolic sine.")
cosh = unary("cosh", "Hyperbolic cosine.")
tanh = unary("tanh", "Hyperbolic tangent.")
asinh = unary("asinh", "Inverse hyperbolic sine.")
acosh = unary("acosh", "Inverse hyperbolic cosine.")
atanh = unary("atanh", "Inverse hyperbolic tangent.")
erf = unary("erf", "2/√π · ∫₀ˣ exp(−t²) dt.")


install_methods(
    {
        "__neg__": neg,
        "__abs__": abs,
        "abs": abs,
        "square": square,
        "sqrt": sqrt,
        "rsqrt": rsqrt,
        "exp": exp,
        "log": log,
        "tanh": tanh,
    }
)
