"""The CUDA kernels in the registry: one entry per row of the table and dtype.

The registry imports this module when it first looks for a kernel on a GPU, so a run on the CPU never comes here, and
even here CuPy is imported only by the first launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from dtrain.kernels.array_module import Array
from dtrain.kernels.cuda.module import forget_modules, function_of
from dtrain.kernels.cuda.table import TABLE, CudaRow
from dtrain.kernels.registry import register_kernel


def row_function(row: CudaRow, tag: str) -> Callable[..., None]:
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


for _row in TABLE:
    for _tag in _row.dtypes:
        register_kernel(_row.candidate(_tag, "cuda", row_function(_row, _tag)))
