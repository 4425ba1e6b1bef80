"""Formulas on tensors: gradient rules of `kernels/formula/table.py` as the functions that one would write by hand.

>>> from dtrain.kernels.formula.table import ROWS
>>> (sin,) = (row for row in ROWS if row.name == "sin")
>>> print(text_of(sin.backward[0]))
def sin_backward(grad, x):
    return (grad * cos(x))
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor
from dtrain.graph.op import get_op
from dtrain.kernels.formula.expression import Apply, parts
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.python_text import OPERATORS, Writer
from dtrain.ops.where import where

# What is not here is the op of this name.
_PYTHON = {
    **OPERATORS,
    "detach": "{}.detach()",
    "exp_non_positive": "exp(minimum({}, 0))",
    "keep_nan": "where({1} != {1}, {1}.detach(), {0})",
}


def text_of(kernel: Kernel) -> str:
    """The function that computes a kernel's formula."""
    arguments = [*(value.name for value in kernel.inputs), *(["*"] if kernel.parameters else []), *kernel.parameters]
    *assignments, text = Writer(_PYTHON, lambda name: name).lines(kernel.formula)
    lines = [f"def {kernel.name}({', '.join(arguments)}):", *(f"    {line}" for line in assignments)]
    return "\n".join([*lines, f"    return {text}"])


def on_tensors(kernel: Kernel) -> Callable[..., Tensor]:
    """The kernel's formula as a function of tensors and attributes. Its ops are looked up when they are called."""
    called = {part.function for part in parts(kernel.formula) if isinstance(part, Apply)} - {*_PYTHON, "where"}
    namespace: dict[str, Any] = {name: _op(name) for name in (*called, "exp", "minimum")}
    namespace.update(where=where, inf=inf, nan=nan)
    exec(compile(text_of(kernel), f"<formula of {kernel.name}>", "exec"), namespace)
    function: Callable[..., Tensor] = namespace[kernel.name]
    return function


def _op(name: str) -> Callable[..., Tensor]:
    def function(*tensors: Tensor | float) -> Tensor:
        return apply(get_op(name), *tensors)

    return function
