"""Formulas as CUDA: sources that are written when they are compiled, one for each part of `kernels/formula/table.py`.

A thread computes elements one by one in their accumulation dtype, so that the text is close to the formula itself; what
it calls stands in `formula.cuh`.
"""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.python_text import OPERATORS, Writer
from dtrain.kernels.formula.table import ACTIVATIONS, BINARY, UNARY
from dtrain.kernels.formula.vectors import is_compiled

_CUDA = {
    **OPERATORS,
    "where": "({} ? {} : {})",
    "rsqrt": "(1 / square_root({}))",
    "exp_non_positive": "exponential(minimum({}, (A)0))",
    "expm1_non_positive": "exponential_minus_1(minimum({}, (A)0))",
}
_NAMES = {"sqrt": "square_root", "abs": "absolute"}
_WRITER = Writer(_CUDA, lambda name: _NAMES.get(name, name), lambda number: f"(A){number!r}")
_TYPES = {"f16": "f16", "bf16": "bf16", "f32": "float", "f64": "double"}

_ROWS = {"unary.cu": UNARY, "activation.cu": ACTIVATIONS, "binary.cu": BINARY}
FILES = tuple(_ROWS)


def kernels_in(file: str) -> Iterator[Kernel]:
    """What stands in a source: the kernels that the CPU has compiled too."""
    yield from (kernel for row in _ROWS[file] for kernel in row.kernels if is_compiled(kernel))


def source_text(file: str) -> str:
    """The text of a source."""
    lines = ["// Written from kernels/formula/table.py.", '#include "formula.cuh"']
    for kernel in kernels_in(file):
        lines += _template(kernel)
        lines += [_instance(kernel, tag, type) for tag, type in _TYPES.items()]
    return "\n".join([*lines, ""])


def _arguments(kernel: Kernel, type: str) -> str:
    arrays = [f"const {type}* {value.name}_in" for value in kernel.inputs]
    return ", ".join([*arrays, f"{type}* out", "s64 size", *(f"double {name}_given" for name in kernel.parameters)])


def _template(kernel: Kernel) -> list[str]:
    *assignments, text = _WRITER.lines(kernel.formula)
    return [
        "",
        f"// {kernel.formula}",
        "template <typename T>",
        f"__device__ inline void {kernel.name}({_arguments(kernel, 'T')}) {{",
        "  typedef Accumulator<T> A;",
        *(f"  const A {name} = (A){name}_given;" for name in kernel.parameters),
        "  for (s64 i = grid_start(); i < size; i += grid_stride()) {",
        *(f"    const A {value.name} = widen({value.name}_in[i]);" for value in kernel.inputs),
        *(f"    const auto {assignment};" for assignment in assignments),
        f"    store(&out[i], {text});",
        "  }",
        "}",
    ]


def _instance(kernel: Kernel, tag: str, type: str) -> str:
    given = [*(f"{value.name}_in" for value in kernel.inputs), "out", "size"]
    given += [f"{name}_given" for name in kernel.parameters]
    return (
        f'extern "C" __global__ void __launch_bounds__(256) {kernel.name}_{tag}({_arguments(kernel, type)}) {{ '
        f"{kernel.name}<{type}>({', '.join(given)}); }}"
    )
