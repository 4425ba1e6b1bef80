"""Formulas in fewer operations: what derivatives need to become what one would write by hand.

Only what is exact in floating point is done to numbers; sums collect like terms and draw out a common factor.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod

from dtrain.kernels.formula.expression import Apply, Expression, Number, apply

ZERO, ONE, MINUS_ONE = Number(0), Number(1), Number(-1)


def simplified(expression: Expression) -> Expression:
    """An equal formula, of at most as many operations."""
    if not isinstance(expression, Apply):
        return expression
    arguments = tuple(map(simplified, expression.arguments))
    rule = _RULES.get(expression.function)
    return Apply(expression.function, arguments) if rule is None else rule(*arguments)


def _product(x: Expression, y: Expression) -> Expression:
    if ZERO in (x, y):
        return ZERO
    if x == ONE or y == ONE:
        return y if x == ONE else x
    if isinstance(x, Number) and isinstance(y, Number) and _are_whole(x, y):
        return Number(x.value * y.value)
    if MINUS_ONE in (x, y):
        return _negative(y if x == MINUS_ONE else x)
    for first, second in ((x, y), (y, x)):
        if second == apply("sign", first):
            return apply("abs", first)
    return apply("mul", x, y)


def _quotient(x: Expression, y: Expression) -> Expression:
    if x == ZERO or y == ONE:
        return x
    if x == y:
        return ONE
    if isinstance(x, Number) and isinstance(y, Number) and _are_whole(x, y):
        common = gcd(int(x.value), int(y.value))
        if common > 1:
            return _quotient(Number(x.value // common), Number(y.value // common))
    factors = factors_of(x)
    if y in factors and not isinstance(y, Number):
        return product_of(_without(factors, y))
    return apply("div", x, y)


def _negative(x: Expression) -> Expression:
    if isinstance(x, Number):
        return Number(-x.value)
    if isinstance(x, Apply) and x.function == "neg":
        return x.arguments[0]
    return apply("neg", x)


def _where(condition: Expression, x: Expression, y: Expression) -> Expression:
    return x if x == y else apply("where", condition, x, y)


def _extremum(function: str, x: Expression, y: Expression) -> Expression:
    if isinstance(x, Number) and isinstance(y, Number):
        return Number((max if function == "maximum" else min)(x.value, y.value))
    return apply(function, x, y)


def _are_whole(*numbers: Number) -> bool:
    return all(float(number.value).is_integer() for number in numbers)


def factors_of(expression: Expression) -> list[Expression]:
    """Formulas whose product is this one."""
    if isinstance(expression, Apply) and expression.function == "mul":
        return [factor for argument in expression.arguments for factor in factors_of(argument)]
    if isinstance(expression, Apply) and expression.function == "neg":
        return [MINUS_ONE, *factors_of(expression.arguments[0])]
    return [expression]


def product_of(factors: list[Expression]) -> Expression:
    """The product, from left to right."""
    product: Expression = ONE
    for factor in factors:
        product = _product(product, factor)
    return product


def _without(factors: list[Expression], factor: Expression) -> list[Expression]:
    at = factors.index(factor)
    return factors[:at] + factors[at + 1 :]


Terms = dict[Expression, float]  # what is added up, and how often


def _add_terms(terms: Terms, expression: Expression, times: float) -> None:
    if isinstance(expression, Apply) and expression.function in ("add", "sub"):
        x, y = expression.arguments
        _add_terms(terms, x, times)
        _add_terms(terms, y, times if expression.function == "add" else -times)
    elif isinstance(expression, Apply) and expression.function == "neg":
        _add_terms(terms, expression.arguments[0], -times)
    elif isinstance(expression, Number):
        terms[ONE] = terms.get(ONE, 0) + times * expression.value
    else:
        factors = factors_of(expression)
        numbers = [factor for factor in factors if isinstance(factor, Number)]
        if _are_whole(*numbers):
            times *= prod(number.value for number in numbers)
            factors = [factor for factor in factors if not isinstance(factor, Number)]
        term = product_of(factors)
        terms[term] = terms.get(term, 0) + times


def _sum(function: str, x: Expression, y: Expression) -> Expression:
    y = y if function == "add" else _negative(y)
    common = next((each for each in factors_of(x) if not isinstance(each, Number) and each in factors_of(y)), None)
    if common is not None:
        rests = [product_of(_without(factors_of(each), common)) for each in (x, y)]
        return _product(common, _sum("add", *rests))
    terms: Terms = {}
    _add_terms(terms, x, 1)
    _add_terms(terms, y, 1)
    return _total({term: times for term, times in terms.items() if times})


def _total(terms: Terms) -> Expression:
    total: Expression = ZERO
    for term, times in terms.items():
        size = Number(abs(times)) if term == ONE else _product(Number(abs(times)), term)
        if total == ZERO:
            total = size if times > 0 else _negative(size)
        else:
            total = apply("add" if times > 0 else "sub", total, size)
    return total


def _comparison(x: Expression, y: Expression) -> Expression:
    """x > y, a number added on one side moved to the other: u + 3 > 0 is u > -3, exactly so near the border."""
    for side, other, order in ((x, y, 1), (y, x, -1)):
        terms: Terms = {}
        _add_terms(terms, side, 1)
        if isinstance(other, Number) and len(terms) == 2 and ONE in terms:
            (term, times), *_ = [each for each in terms.items() if each[0] != ONE]
            if times == 1:
                limit = Number(other.value - terms[ONE])
                return apply("greater", *((term, limit) if order == 1 else (limit, term)))
    return apply("greater", x, y)


_RULES: dict[str, Callable[..., Expression]] = {
    "add": lambda x, y: _sum("add", x, y),
    "sub": lambda x, y: _sum("sub", x, y),
    "mul": _product,
    "div": _quotient,
    "neg": _negative,
    "where": _where,
    "greater": _comparison,
    "maximum": lambda x, y: _extremum("maximum", x, y),
    "minimum": lambda x, y: _extremum("minimum", x, y),
}
