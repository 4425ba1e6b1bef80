"""The references of all rows of `kernels/formula/table.py`: the formula and its gradient as Python on arrays.

f16 and bf16 compute in f32 and are rounded once. A formula becomes the text of a function, which is what one would
write by hand, and costs as much:

>>> from dtrain.kernels.formula.table import KERNELS
>>> print(text_of(next(kernel for kernel in KERNELS if kernel.name == "silu")))
def silu(x, out):
    xp, x = array_module(out), widen(x)
    store(out, (x * sigmoid_of(xp, x)))
"""

from __future__ import annotations

from typing import Any

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.candidate import KernelFunction
from dtrain.kernels.formula.expression import Apply, Expression, Number, Parameter, parts
from dtrain.kernels.formula.table import KERNELS, Kernel
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference


def sigmoid_of(xp: Any, x: Array) -> Array:
    """1 / (1 + e⁻ˣ) without overflow on either side."""
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, small) / (1 + small)


def softplus_of(xp: Any, x: Array) -> Array:
    """log(1 + eˣ) without overflow."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


# What is not here is a function of the array module.
_PYTHON = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "div": "({} / {})",
    "neg": "(-{})",
    "greater": "({} > {})",
    "exp_non_positive": "xp.exp(xp.minimum({}, 0))",
    "expm1_non_positive": "xp.expm1(xp.minimum({}, 0))",
    "keep_nan": "xp.where({1} != {1}, {1}, {0})",
    "sigmoid": "sigmoid_of(xp, {})",
    "softplus": "softplus_of(xp, {})",
}
# What only chooses among its arguments is exact in any dtype: nothing is widened.
_SELECTIONS = {"maximum", "minimum", "where", "greater", "keep_nan"}


def text_of(kernel: Kernel) -> str:
    """The function that computes a kernel's formula: parts that are read twice have a name."""
    formula, inputs = kernel.formula, [value.name for value in kernel.inputs]
    seen: dict[Expression, int] = {}
    for part in parts(formula):
        seen[part] = seen.get(part, 0) + 1
    is_exact = all(part.function in _SELECTIONS for part in seen if isinstance(part, Apply))
    parameters = [part.name for part in seen if isinstance(part, Parameter)]
    names: dict[Expression, str] = {
        part: f"part{number}" for number, part in enumerate(seen) if isinstance(part, Apply) and seen[part] > 1
    }
    prepared = ", ".join([*inputs, "number"] if is_exact else inputs)
    values = [*inputs, f"{inputs[0]}.dtype.type"] if is_exact else [f"widen({name})" for name in inputs]
    lines = [
        f"def {kernel.name}({', '.join([*inputs, 'out', *(['*'] if parameters else []), *parameters])}):",
        f"    xp, {prepared} = array_module(out), {', '.join(values)}",
        *(f"    {name} = {_text(part, names, is_exact, is_named=False)}" for part, name in names.items()),
    ]
    text = _text(formula, names, is_exact)
    has_out = is_exact and text.startswith(("xp.maximum(", "xp.minimum("))
    return "\n".join([*lines, f"    {text[:-1]}, out=out)" if has_out else f"    store(out, {text})"])


def _text(expression: Expression, names: dict[Expression, str], is_exact: bool, *, is_named: bool = True) -> str:
    if is_named and expression in names:
        return names[expression]
    if isinstance(expression, Number):
        return f"number({expression.value!r})" if is_exact else repr(expression.value)
    if not isinstance(expression, Apply):
        return str(expression)
    arguments = [_text(argument, names, is_exact) for argument in expression.arguments]
    if expression.function == "greater" and isinstance(expression.arguments[0], Number):
        return f"({arguments[1]} < {arguments[0]})"  # arrays first: a NumPy number does not know CuPy's
    pattern = _PYTHON.get(expression.function)
    return f"xp.{expression.function}({', '.join(arguments)})" if pattern is None else pattern.format(*arguments)


def function_of(kernel: Kernel) -> KernelFunction:
    """The reference of a kernel."""
    namespace: dict[str, Any] = dict(  # noqa: C408
        array_module=array_module, sigmoid_of=sigmoid_of, softplus_of=softplus_of, store=store, widen=widen
    )
    exec(compile(text_of(kernel), f"<formula of {kernel.name}>", "exec"), namespace)
    function: KernelFunction = namespace[kernel.name]
    return function


for _kernel in KERNELS:
    reference(_kernel.name, layouts=LAID_OUT)(function_of(_kernel))
