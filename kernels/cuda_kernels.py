"""The CUDA kernels in the registry: one entry per row of the table and dtype.

The registry imports this module when it first looks for a kernel on a GPU, so a run on the CPU never comes here, and
even here CuPy is imported only by the first launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Candidate, Condition
from dtrain.kernels.cuda.module import forget_modules, function_of
from dtrain.kernels.cuda.table import TABLE, CudaRow
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import register_kernel, signature_of


def knows_attributes(row: CudaRow) -> Condition:
    """No attribute is set that the functions of the row do not know."""

    def condition(problem: Problem) -> str | None:
        unknown = [name for name in row.without if problem.attrs.get(name)]
        return f"knows no {' and no '.join(unknown)}" if unknown else None

    return condition


def kernel_of(row: CudaRow, tag: str) -> Callable[..., None]:
    """The kernel function of one row and dtype, which compiles its source when it is first called."""
    file, names, launch = row.file, tuple(row.functions(tag).items()), row.launch

    def kernel(*inputs: Array, out: Any, **attrs: Any) -> None:
        launch(_compiled(file, names), inputs, out, attrs)

    return kernel


@cache
def _compiled(file: str, names: tuple[tuple[str, str], ...]) -> Mapping[str, Callable[..., None]]:
    """Name without tag -> compiled function."""
    return {name: function_of(file, full) for name, full in names}


def forget_compiled() -> None:
    """Drop all compiled functions, so that the next call compiles anew (tests exchange the compiler)."""
    _compiled.cache_clear()
    forget_modules()


def register_row(row: CudaRow) -> list[Candidate]:
    """List one row in the registry, once a dtype."""
    return [
        register_kernel(
            Candidate(
                op=row.op,
                name=f"{row.op}_{tag}_cuda",
                isa="cuda",
                function=kernel_of(row, tag),
                conditions=(signature_of(row.op).takes(tag), knows_attributes(row)),
                needs_contiguous=True,
            )
        )
        for tag in row.dtypes
    ]


REGISTERED: list[Candidate] = [info for row in TABLE for info in register_row(row)]
