"""The CUDA kernels in the registry: one entry per row of the table and dtype.

The registry imports this module when it first looks for a kernel on a GPU, so a run on the CPU never comes here, and
even here CuPy is imported only by the first launch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from dtrain.base.dtype import DType, float32, float64, int32, int64
from dtrain.base.tensor_type import TensorType
from dtrain.kernels.cuda.module import forget_modules, function_of
from dtrain.kernels.cuda.table import TABLE, CudaRow, accumulation_dtype, element_dtype, weight_dtype
from dtrain.kernels.registry import Array, Attrs, KernelInfo, register_kernel


def dtypes_of_roles(tag: str) -> dict[str, tuple[DType, ...]]:
    """The dtypes that an input of each role may have, for a tag of the table."""
    element = element_dtype(tag)
    return {
        "T": (element,),
        "A": (accumulation_dtype(element),),
        "W": (weight_dtype(tag),),
        "S": (float32, float64),
        "N": (int64,),
        "P": (int32,),
        "I": (int32, int64),
    }


def takes(row: CudaRow, tag: str) -> Callable[[Sequence[TensorType], Attrs], bool]:
    """Whether every input has a dtype of its role, and no attribute is set that the functions do not know."""
    allowed = dtypes_of_roles(tag)
    fixed = [allowed[role] for role in row.inputs if not role.endswith("*")]
    repeated = [allowed[role[:-1]] for role in row.inputs if role.endswith("*")]

    def accepts(types: Sequence[TensorType], attrs: Attrs) -> bool:
        if len(types) < len(fixed) or (len(types) > len(fixed) and not repeated):
            return False
        if any(attrs.get(name) for name in row.without):
            return False
        roles = [*fixed, *repeated * (len(types) - len(fixed))]
        return all(type.dtype in dtypes for type, dtypes in zip(types, roles))

    return accepts


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


def register_row(row: CudaRow) -> list[KernelInfo]:
    """List one row in the registry, once a dtype."""
    return [
        register_kernel(
            KernelInfo(
                op=row.op,
                name=f"{row.op}_{tag}_cuda",
                isa="cuda",
                function=kernel_of(row, tag),
                accepts=takes(row, tag),
                needs_contiguous=True,
            )
        )
        for tag in row.dtypes
    ]


REGISTERED: list[KernelInfo] = [info for row in TABLE for info in register_row(row)]
