"""Derivatives of formulas, and what a gradient kernel computes from one."""

from __future__ import annotations

from dtrain.kernels.formula.expression import (
    Apply,
    Expression,
    Number,
    Value,
    apply,
    depends_on,
    parts,
    replaced,
    where,
)
from dtrain.kernels.formula.functions import DERIVATIVES, KINKS
from dtrain.kernels.formula.simplify import MINUS_ONE, ONE, ZERO, simplified


def derivative(formula: Expression, by: Value) -> Expression:
    """df/dx, simplified.

    A formula with a kink has one on each side of it: at the kink itself that of below for `maximum`, that of above for
    `minimum`, so that 0 is taken where a limit is reached.

    >>> from dtrain.kernels.formula.expression import clip
    >>> x = Value("x")
    >>> print(derivative(x * clip(x + 3, 0, 6) / 6, x))
    where(greater(x, -3), where(greater(3, x), div(add(mul(2, x), 3), 6), 1), 0)
    """
    kink = next((part for part in parts(formula) if _is_kink(part, by)), None)
    if kink is None:
        return simplified(_derivative(formula, by))
    assert isinstance(kink, Apply)
    x, limit = kink.arguments
    beyond = x > limit if kink.function == "maximum" else limit > x
    inside, outside = (simplified(replaced(formula, {kink: each})) for each in (x, limit))
    return simplified(where(beyond, derivative(inside, by), derivative(outside, by)))


def _is_kink(part: Expression, by: Value) -> bool:
    return isinstance(part, Apply) and part.function in KINKS and depends_on(part, by)


def _derivative(formula: Expression, by: Value) -> Expression:
    if formula == by:
        return ONE
    if not isinstance(formula, Apply) or not depends_on(formula, by):
        return ZERO
    name, arguments = formula.function, formula.arguments
    if name == "where":
        condition, x, y = arguments
        return where(condition, derivative(x, by), derivative(y, by))
    if name == "keep_nan":
        return _derivative(arguments[0], by)
    if name == "detach":
        return ZERO
    if name not in ("add", "sub", "neg", "mul", "div", *DERIVATIVES):
        raise NotImplementedError(
            f"derivative: expected a function of functions.py, or a row with gradients, got {name}"
        )
    slopes = [_derivative(argument, by) for argument in arguments]
    if name in ("add", "sub", "neg"):
        return Apply(name, tuple(slopes))
    if name == "mul":
        x, y = arguments
        return slopes[0] * y + x * slopes[1]
    if name == "div":
        return _derivative_of_quotient(*arguments, *slopes)
    return DERIVATIVES[name](arguments[0], formula) * slopes[0]


def _derivative_of_quotient(x: Expression, y: Expression, x_slope: Expression, y_slope: Expression) -> Expression:
    """In the form whose parts stay in range where the result does: y² leaves it long before 1 / y does."""
    if y_slope == ZERO:
        return x_slope / y
    if x_slope == ZERO:
        return -(y_slope / y / y) if x == ONE else -(x / y * y_slope / y)
    if any(isinstance(part, Apply) and part.function == "div" and part.arguments[1] == y for part in parts(x)):
        return x_slope / y - x / y * y_slope / y
    return (x_slope * y - x * y_slope) / (y * y)  # whose numerator may become simpler


def scaled(grad: Value, slope: Expression, *saved: Value) -> Expression:
    """grad · slope: 0 where the slope is, whatever the gradient; NaN where what was saved is, so that it is seen.

    A slope that is 0 everywhere gives grad · 0.
    """
    if slope == ZERO:
        return apply("mul", grad, ZERO)
    product = product_with(grad, slope)
    if isinstance(slope, Apply) and slope.function == "where":
        for value in saved:
            product = _visible(product, value)
    return product


def product_with(grad: Value, slope: Expression) -> Expression:
    """grad · slope, branch by branch."""
    if slope in (ZERO, ONE):
        return ZERO if slope == ZERO else grad
    if slope == MINUS_ONE:
        return -grad
    if isinstance(slope, Apply) and slope.function == "where":
        condition, x, y = slope.arguments
        return where(condition, product_with(grad, x), product_with(grad, y))
    if isinstance(slope, Apply) and slope.function == "div" and isinstance(slope.arguments[0], Number):
        return product_with(grad, slope.arguments[0]) / slope.arguments[1]
    return grad * slope


def _visible(product: Expression, saved: Value) -> Expression:
    """No comparison holds for a NaN, so that one comes to the last branch."""
    if isinstance(product, Apply) and product.function == "where":
        condition, x, y = product.arguments
        return where(condition, x, _visible(y, saved))
    return product if depends_on(product, saved) else apply("keep_nan", product, saved)
