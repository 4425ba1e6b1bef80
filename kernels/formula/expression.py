"""Formulas as trees: of arrays, numbers and parameters, and of functions applied to them.

Nothing here computes: `kernels/reference` evaluates a tree on arrays, `dtrain/ops` on tensors, `cpp_text` writes it
down. A build reads these files without NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Expression:
    """A formula. Arithmetic of formulas gives formulas.

    >>> x = Value("x")
    >>> print(x * clip(x + 3, 0, 6) / 6)
    div(mul(x, minimum(maximum(add(x, 3), 0), 6)), 6)
    """

    def __add__(self, other: Operand) -> Expression:
        return apply("add", self, other)

    def __radd__(self, other: Operand) -> Expression:
        return apply("add", other, self)

    def __sub__(self, other: Operand) -> Expression:
        return apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Expression:
        return apply("sub", other, self)

    def __mul__(self, other: Operand) -> Expression:
        return apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Expression:
        return apply("mul", other, self)

    def __truediv__(self, other: Operand) -> Expression:
        return apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return apply("div", other, self)

    def __neg__(self) -> Expression:
        return apply("neg", self)

    def __gt__(self, other: Operand) -> Expression:
        return apply("greater", self, other)

    def __lt__(self, other: Operand) -> Expression:
        return apply("greater", other, self)


@dataclass(frozen=True)
class Value(Expression):
    """An array: x, the output y, or the gradient."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Parameter(Expression):
    """A number that a call gives: a static attribute of the op."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Number(Expression):
    """A number that the formula gives."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class Apply(Expression):
    """A function applied to formulas. `functions.py` says which there are."""

    function: str
    arguments: tuple[Expression, ...]

    @cached_property
    def _hash(self) -> int:
        return hash((self.function, self.arguments))

    def __hash__(self) -> int:  # once a node: trees are looked up part by part
        return self._hash

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.arguments))})"


Operand = Expression | float


def as_expression(operand: Operand) -> Expression:
    """The operand, a number as a formula."""
    return operand if isinstance(operand, Expression) else Number(operand)


def apply(function: str, *arguments: Operand) -> Apply:
    """A function applied to formulas or numbers."""
    return Apply(function, tuple(map(as_expression, arguments)))


def maximum(x: Operand, y: Operand) -> Expression:
    return apply("maximum", x, y)


def minimum(x: Operand, y: Operand) -> Expression:
    return apply("minimum", x, y)


def clip(x: Operand, low: float, high: float) -> Expression:
    """x limited to [low, high]."""
    return minimum(maximum(x, low), high)


def where(condition: Expression, x: Operand, y: Operand) -> Expression:
    """x where the condition holds, else y, also where the condition compares a NaN."""
    return apply("where", condition, x, y)


def parts(expression: Expression) -> Iterator[Expression]:
    """The formula and all formulas in it, arguments first."""
    if isinstance(expression, Apply):
        for argument in expression.arguments:
            yield from parts(argument)
    yield expression


def replaced(expression: Expression, new: Mapping[Expression, Expression]) -> Expression:
    """The formula with others in the place of some of its parts."""
    if expression in new:
        return new[expression]
    if isinstance(expression, Apply):
        return Apply(expression.function, tuple(replaced(argument, new) for argument in expression.arguments))
    return expression


def depends_on(expression: Expression, value: Expression) -> bool:
    return any(part == value for part in parts(expression))
