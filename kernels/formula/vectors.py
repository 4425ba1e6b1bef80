"""The functions that the vectors of `cpu/simd` have, and formulas written in them."""

from __future__ import annotations

from dtrain.kernels.formula.expression import Apply, Expression, Number, Parameter, parts
from dtrain.kernels.formula.functions import KINKS
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.simplify import ZERO, simplified

# max(a, b) and min(a, b) give b where either is NaN: x stands second, so that one goes through.
VECTOR_FUNCTIONS = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "div": "({} / {})",
    "neg": "(V(T(-1)) * {})",
    "maximum": "max({1}, {0})",
    "minimum": "min({1}, {0})",
    "abs": "max(V::zero() - {0}, {0})",
    "sign": "sign_of({})",
    "square": "square_of({})",
    "sqrt": "sqrt({})",
    "rsqrt": "(V(T(1)) / sqrt({}))",
    "sigmoid": "sigmoid_of({})",
    "exp_non_positive": "exp_non_positive(min(V::zero(), {}))",
    "expm1_non_positive": "expm1_non_positive(min(V::zero(), {}))",
    "softplus": "softplus_of({})",
    "keep_nan": "({} - nothing_or_nan({}))",
}


class NotInVectors(Exception):
    """A formula has something that vectors do not know: its reference serves."""


def is_compiled(kernel: Kernel) -> bool:
    """Whether vectors know all of its functions; what NumPy has compiled is left to it."""
    if kernel.is_elementary:
        return False
    try:
        body_of(kernel)
    except NotInVectors:
        return False
    return True


def body_of(kernel: Kernel) -> list[str]:
    """The statements of the kernel for one vector: parts that are read twice have a name."""
    seen: dict[Expression, int] = {}
    for part in parts(kernel.formula):
        seen[part] = seen.get(part, 0) + isinstance(part, Apply)
    names: dict[Expression, str] = {value: value.name for value in kernel.inputs}
    names.update((Parameter(name), name) for name in kernel.parameters)
    lines: list[str] = []
    for part, times in seen.items():
        if times > 1 and isinstance(part, Apply) and part.function != "greater":
            text = text_of(part, names)
            names[part] = f"part{len(lines)}"
            lines.append(f"const V {names[part]} = {text};")
    return [*lines, f"return {text_of(kernel.formula, names)};"]


def text_of(expression: Expression, names: dict[Expression, str]) -> str:
    """The formula as a C++ expression; `names` of parts that have one. Raises NotInVectors."""
    if expression in names:
        return names[expression]
    if isinstance(expression, Number):
        return "V::zero()" if expression == ZERO else f"V(T({expression.value!r}))"
    if not isinstance(expression, Apply):
        raise NotInVectors(str(expression))
    if expression.function == "where":
        return _chosen(expression, names)
    if expression.function == "keep_nan" and expression.arguments[0] == ZERO:
        return f"zero_or_nan({text_of(expression.arguments[1], names)})"
    if expression.function not in VECTOR_FUNCTIONS:
        raise NotInVectors(expression.function)
    text = VECTOR_FUNCTIONS[expression.function]
    if expression.function in KINKS and not isinstance(expression.arguments[1], Number | Parameter):
        text = f"({text} - nothing_or_nan({{1}}))"  # either may be NaN
    return text.format(*[text_of(argument, names) for argument in expression.arguments])


def _chosen(expression: Apply, names: dict[Expression, str]) -> str:
    condition, x, y = expression.arguments
    if not isinstance(condition, Apply) or condition.function != "greater":
        raise NotInVectors(str(condition))
    larger, smaller = condition.arguments
    chosen = [text_of(each, names) for each in (simplified(larger - smaller), x, y)]
    return f"select_positive({', '.join(chosen)})"
