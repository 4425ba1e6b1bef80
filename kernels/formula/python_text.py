"""Formulas as text of Python: what references compute on arrays, and gradient rules on tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dtrain.kernels.formula.expression import Apply, Expression, Number, parts

OPERATORS = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "div": "({} / {})",
    "neg": "(-{})",
    "greater": "({} > {})",
    "greater_equal": "({} >= {})",
    "equal": "({} == {})",
    "not_equal": "({} != {})",
    "and": "({} & {})",
    "or": "({} | {})",
}


@dataclass(frozen=True)
class Writer:
    """How formulas are written down.

    patterns: function -> text with a place for each argument.
    call: the text that calls any other function, from its name.
    number: a number as text.
    """

    patterns: Mapping[str, str]
    call: Callable[[str], str]
    number: Callable[[float], str] = repr

    def lines(self, formula: Expression) -> list[str]:
        """Assignments of the parts that are read twice, and the formula in terms of these."""
        seen: dict[Expression, int] = {}
        for part in parts(formula):
            seen[part] = seen.get(part, 0) + 1
        names: dict[Expression, str] = {
            part: f"part{number}" for number, part in enumerate(seen) if isinstance(part, Apply) and seen[part] > 1
        }
        return [
            *(f"{name} = {self._text(part, names, is_named=False)}" for part, name in names.items()),
            self._text(formula, names),
        ]

    def _text(self, expression: Expression, names: Mapping[Expression, str], *, is_named: bool = True) -> str:
        if is_named and expression in names:
            return names[expression]
        if isinstance(expression, Number):
            return self.number(expression.value)
        if not isinstance(expression, Apply):
            return str(expression)
        arguments = [self._text(argument, names) for argument in expression.arguments]
        if expression.function == "greater" and isinstance(expression.arguments[0], Number):
            return f"({arguments[1]} < {arguments[0]})"  # arrays first: a NumPy number does not know CuPy's
        pattern = self.patterns.get(expression.function)
        if pattern is None:
            return f"{self.call(expression.function)}({', '.join(arguments)})"
        return pattern.format(*arguments)
