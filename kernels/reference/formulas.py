"""The references of all rows of `kernels/formula/table.py`: the formula and its gradients as Python on arrays.

f16 and bf16 compute in f32 and are rounded once. A formula becomes the text of a function, which is what one would
write by hand, and costs as much; one that NumPy has is NumPy's ufunc, which has exactly the form of a kernel and hands
CuPy arrays on to CuPy.

>>> from dtrain.kernels.formula.table import KERNELS
>>> print(text_of(next(kernel for kernel in KERNELS if kernel.name == "silu")))
def silu(x, out):
    xp, x = array_module(out), widen(x)
    store(out, (x * sigmoid_of(xp, x)))
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.candidate import KernelFunction
from dtrain.kernels.formula.expression import Apply, parts
from dtrain.kernels.formula.functions import NUMPY_NAMES
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.python_text import OPERATORS, Writer
from dtrain.kernels.formula.table import KERNELS
from dtrain.kernels.reference.elementwise import floor_div, mod, pow
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.reference.special import erf
from dtrain.kernels.registry import reference

# What NumPy does not have, or does for integers that have no result.
_BY_HAND: dict[str, KernelFunction] = {"erf": erf, "floor_div": floor_div, "mod": mod, "pow": pow}


def sigmoid_of(xp: Any, x: Array) -> Array:
    """1 / (1 + e⁻ˣ) without overflow on either side."""
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, small) / (1 + small)


def softplus_of(xp: Any, x: Array) -> Array:
    """log(1 + eˣ) without overflow."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


# What is not here is a function of the array module.
_PYTHON = {
    **OPERATORS,
    "rsqrt": "(1 / xp.sqrt({}))",
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
    inputs, parameters = [value.name for value in kernel.inputs], kernel.parameters
    is_exact = all(part.function in _SELECTIONS for part in parts(kernel.formula) if isinstance(part, Apply))
    prepared = ", ".join([*inputs, "number"] if is_exact else inputs)
    values = [*inputs, f"{inputs[0]}.dtype.type"] if is_exact else [f"widen({name})" for name in inputs]
    number = (lambda value: f"number({value!r})") if is_exact else repr
    *assignments, text = Writer(_PYTHON, lambda name: f"xp.{NUMPY_NAMES.get(name, name)}", number).lines(kernel.formula)
    has_out = is_exact and text.startswith(("xp.maximum(", "xp.minimum("))
    lines = [
        f"def {kernel.name}({', '.join([*inputs, 'out', *(['*'] if parameters else []), *parameters])}):",
        f"    xp, {prepared} = array_module(out), {', '.join(values)}",
        *(f"    {line}" for line in assignments),
        f"    {text[:-1]}, out=out)" if has_out else f"    store(out, {text})",
    ]
    return "\n".join(lines)


def function_of(kernel: Kernel) -> KernelFunction:
    """The reference of a kernel."""
    if kernel.is_elementary:
        (name,) = kernel.functions
        ufunc: KernelFunction = _BY_HAND.get(name) or getattr(np, NUMPY_NAMES.get(name, name))
        return ufunc
    namespace: dict[str, Any] = dict(  # noqa: C408
        array_module=array_module, sigmoid_of=sigmoid_of, softplus_of=softplus_of, store=store, widen=widen, inf=np.inf
    )
    exec(compile(text_of(kernel), f"<formula of {kernel.name}>", "exec"), namespace)
    function: KernelFunction = namespace[kernel.name]
    return function


for _kernel in KERNELS:
    reference(_kernel.name, layouts=LAID_OUT)(function_of(_kernel))
