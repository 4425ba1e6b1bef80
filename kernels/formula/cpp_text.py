"""Formulas as C++ over the vectors of `cpu/simd`: what `write_cpp.py` puts together for the compiler."""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.kernels.formula.expression import Apply, Expression, Number, Parameter, parts
from dtrain.kernels.formula.simplify import ZERO, simplified
from dtrain.kernels.formula.table import KERNELS, Kernel

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
    "sigmoid": "sigmoid_of({})",
    "exp_non_positive": "exp_non_positive(min(V::zero(), {}))",
    "expm1_non_positive": "expm1_non_positive(min(V::zero(), {}))",
    "softplus": "softplus_of({})",
}


class NotInVectors(Exception):
    """A formula has something that vectors do not know: its reference serves."""


def kernels() -> Iterator[Kernel]:
    """Those that can be written down."""
    return filter(is_compiled, KERNELS)


def is_compiled(kernel: Kernel) -> bool:
    """Whether vectors know all of its functions."""
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
        condition, x, y = expression.arguments
        assert isinstance(condition, Apply) and condition.function == "greater", condition
        larger, smaller = condition.arguments
        chosen = [text_of(each, names) for each in (simplified(larger - smaller), x, y)]
        return f"select_positive({', '.join(chosen)})"
    if expression.function == "keep_nan" and expression.arguments[0] == ZERO:
        return f"zero_or_nan({text_of(expression.arguments[1], names)})"
    if expression.function not in VECTOR_FUNCTIONS:
        raise NotInVectors(expression.function)
    arguments = [text_of(argument, names) for argument in expression.arguments]
    return VECTOR_FUNCTIONS[expression.function].format(*arguments)


def list_text() -> str:
    """The kernels.inc."""
    lines = [f"FLOATS({kernel.name})" for kernel in kernels()]
    return "\n".join(["// Written by write_cpp.py, read by binding/kernel_list.h.", *lines, ""])


def contract_text() -> str:
    """How each kernel is called: how many inputs, and by which names its parameters are given."""
    lines = []
    for parameter in dict.fromkeys(name for kernel in kernels() for name in kernel.parameters):
        lines.append(f'inline constexpr char {parameter}_name[] = "{parameter}";')
    for kernel in kernels():
        arguments = ", ".join([str(len(kernel.inputs)), *(f"{name}_name" for name in kernel.parameters)])
        lines += [
            f"// {kernel.formula}",
            "template <typename T>",
            f"using {kernel.name}_fn = elementwise_fn<T>;",
            f"using {kernel.name}_arguments = Arguments<{arguments}>;",
        ]
    return "\n".join(["// Written by write_cpp.py.", *lines, ""])


def kernel_text() -> str:
    """The kernels as templates over a vector type."""
    lines = ["// Written by write_cpp.py."]
    for kernel in kernels():
        vectors = ", ".join(f"V {value.name}" for value in kernel.inputs)
        pointers = ", ".join(f"inputs[{number}]" for number in range(len(kernel.inputs)))
        given = " parameters" if kernel.parameters else ""
        lines += [
            "template <typename V>",
            f"void {kernel.name}(const ElementOf<V>* const* inputs, ElementOf<V>* out, std::int64_t n,",
            f"    const ElementOf<V>*{given}) {{",
            "  using T [[maybe_unused]] = ElementOf<V>;",
            *(f"  const V {name}(parameters[{number}]);" for number, name in enumerate(kernel.parameters)),
            f"  map<V>(out, n, [=]({vectors}) {{",
            *(f"    {line}" for line in body_of(kernel)),
            f"  }}, {pointers});",
            "}",
        ]
    return "\n".join([*lines, ""])
