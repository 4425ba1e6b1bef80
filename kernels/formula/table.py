"""Elementwise ops with a gradient of their own, a row each. From a row follow

    the reference      kernels/reference/formulas.py evaluates it and its gradients on NumPy and CuPy arrays
    the gradient rule  ops/formulas.py registers the op, the ops of its gradients, and the derivatives of those
    compiled kernels   write_cpp.py writes them for every instruction set and element type when the module is built
    CUDA kernels       cuda_text.py writes them when one is first used
    tests, benchmark   of all of these, by enumeration

A formula is compiled if `vectors.py` knows all its functions and it is not just one that NumPy has; otherwise the
reference serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import inf, nan

from dtrain.kernels.formula.expression import Expression, Number, Parameter, apply, clip, maximum, where
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.row import GRAD, A, B, Row, X, Y


def _between(low: float, high: float, slope: Expression) -> Expression:
    """A slope of y between two limits, where it stays."""
    return where(low < Y, where(high > Y, slope, 0), 0)


def _winner(wins: Expression) -> Expression:
    """The gradient of the input that wins; equal ones take half each; where one is NaN, so are both gradients."""
    has_nan = apply("or", apply("not_equal", A, A), apply("not_equal", B, B))
    return where(has_nan, nan, where(apply("equal", A, B), GRAD * 0.5, where(wins, GRAD, 0)))


def _over_square(part: Expression) -> Expression:
    """grad · part / (a² + b²), and 0 at the origin, where no slope is right.

    Squares of numbers up to 1 stay in range; the scale cancels, also out of further derivatives.
    """
    larger = maximum(*(apply("abs", apply("detach", each)) for each in (A, B)))
    scale = where(apply("and", larger > 0, larger < inf), larger, 1)
    total = (A / scale) * (A / scale) + (B / scale) * (B / scale)
    return GRAD * (part / scale) / where(apply("equal", larger, 0), 1, total) / scale


_IS_0 = apply("equal", B, 0)
# 0 to any y is 0 around every y > 0, and at 0⁰ seen from the right.
_IS_FLAT = apply("and", apply("equal", A, 0), apply("greater_equal", B, 0))
_POSITIVE, _OPEN = (0.2, 3.0), (-0.8, 0.8)

UNARY = (
    Row("neg", -X, dtypes="numbers"),
    Row("abs", apply("abs", X), dtypes="all"),
    Row("sign", apply("sign", X), dtypes="numbers", domain=(0.5, 2)),
    Row("square", apply("square", X), dtypes="numbers"),
    Row("sqrt", apply("sqrt", X), gradients=(GRAD * 0.5 / Y,), domain=_POSITIVE),
    Row("rsqrt", 1 / apply("sqrt", X), gradients=(GRAD * -0.5 * (Y * Y * Y),), domain=_POSITIVE),
    Row("reciprocal", 1 / X, slope=-(Y * Y), domain=_POSITIVE),
    Row("exp", apply("exp", X), domain=(-2, 2)),
    Row("expm1", apply("expm1", X), domain=(-2, 2)),
    Row("log", apply("log", X), domain=_POSITIVE),
    Row("log1p", apply("log1p", X), domain=(-0.5, 2)),
    Row("round", apply("round", X), domain=(0.6, 1.4)),
    Row("ceil", apply("ceil", X), domain=(0.1, 0.9)),
    Row("floor", apply("floor", X), domain=(0.1, 0.9)),
    Row("sin", apply("sin", X)),
    Row("cos", apply("cos", X)),
    Row("tan", apply("tan", X), domain=(-1, 1)),
    Row("asin", apply("asin", X), domain=_OPEN),
    Row("acos", apply("acos", X), domain=_OPEN),
    Row("atan", apply("atan", X)),
    Row("sinh", apply("sinh", X), domain=(-2, 2)),
    Row("cosh", apply("cosh", X), domain=(-2, 2)),
    Row("tanh", apply("tanh", X)),
    Row("asinh", apply("asinh", X)),
    Row("acosh", apply("acosh", X), domain=(1.2, 3)),
    Row("atanh", apply("atanh", X), domain=_OPEN),
    Row("erf", apply("erf", X), gradients=(GRAD * apply("exp", -(X * X)) * 1.1283791670955126,), domain=(-2, 2)),
)

_BESIDE = 1 + apply("abs", X)
_SOFTSIGN = X / _BESIDE  # NaN at infinity, and so is the gradient there: nothing hides behind a slope of 0

ACTIVATIONS = (
    Row("relu", maximum(X, 0), slope=where(Y > 0, 1, 0)),
    Row("relu6", clip(X, 0, 6), slope=_between(0, 6, Number(1))),
    Row(
        "leaky_relu",
        where(X > 0, X, X * Parameter("negative_slope")),
        parameters={"negative_slope": (0.01, 0.3)},
    ),
    Row(
        "elu",
        where(X > 0, X, apply("expm1_non_positive", X) * Parameter("alpha")),
        parameters={"alpha": (1.0, 0.5)},
    ),
    Row("sigmoid", apply("sigmoid", X)),
    Row("silu", X * apply("sigmoid", X)),
    Row("hsigmoid", clip(X + 3, 0, 6) / 6, slope=_between(0, 1, apply("div", 1, 6))),
    Row("hswish", X * clip(X + 3, 0, 6) / 6),
    Row(
        "softplus",
        apply("softplus", X * Parameter("beta")) / Parameter("beta"),
        parameters={"beta": (1.0, 2.0)},
    ),
    Row("softsign", _SOFTSIGN, gradients=(apply("keep_nan", GRAD / (_BESIDE * _BESIDE), _SOFTSIGN),)),
)

BINARY = (
    Row("add", A + B, dtypes="all"),
    Row("sub", A - B, dtypes="numbers"),
    Row("mul", A * B, dtypes="all"),
    Row("div", A / B, gradients=(GRAD / B, -GRAD * (A / B) / B), domain=(0.5, 2)),
    Row(
        "floor_div",
        apply("floor_div", A, B),
        gradients=(GRAD * 0, GRAD * 0),
        dtypes="numbers",
        domain=(1.1, 1.9),
        checks_integers=True,
    ),
    # The quotient that the value was computed with: ⌊a / b⌋ of a rounded a / b may be the next integer.
    Row(
        "mod",
        apply("mod", A, B),
        gradients=(GRAD, -GRAD * apply("floor_div", A, B)),
        dtypes="numbers",
        domain=(1.1, 1.9),
        checks_integers=True,
    ),
    # a⁰ is 1 whatever a, and 0 to a positive power is 0: both have gradient 0, where the formulas give NaN. What 0 to
    # negative powers and NaN do stays visible.
    Row(
        "pow",
        apply("pow", A, B),
        gradients=(
            where(_IS_0, 0, GRAD * B * apply("pow", A, where(_IS_0, 1, B - 1))),
            where(_IS_FLAT, 0, GRAD * apply("pow", A, B) * apply("log", where(_IS_FLAT, 1, A))),
        ),
        dtypes="numbers",
        domain=(0.5, 2),
        checks_integers=True,
    ),
    Row("maximum", apply("maximum", A, B), gradients=(_winner(A > B), _winner(B > A)), dtypes="all"),
    Row("minimum", apply("minimum", A, B), gradients=(_winner(B > A), _winner(A > B)), dtypes="all"),
    Row("atan2", apply("atan2", A, B), gradients=(_over_square(B), -_over_square(A)), domain=(0.5, 2)),
)

ROWS = (*UNARY, *ACTIVATIONS, *BINARY)
KERNELS = tuple(kernel for row in ROWS for kernel in row.kernels)
_ROW_OF = {kernel.name: row for row in ROWS for kernel in row.kernels}


def row_of(kernel: Kernel) -> Row:
    """The row that it follows from."""
    return _ROW_OF[kernel.name]


def attributes_of(kernel: Kernel) -> Iterator[dict[str, float]]:
    """The attributes that tests and benchmarks give it."""
    given = {name: row_of(kernel).parameters[name] for name in kernel.parameters}
    yield from (dict(zip(given, numbers)) for numbers in product(*given.values()))
