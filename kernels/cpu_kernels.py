"""The compiled CPU kernels: one registry entry per row of the compiled table that this CPU can run.

Importing this module registers them. Without the compiled module it warns once, and the references serve; where a
kernel is not compiled for an instruction set, the next best of the list is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np

from dtrain.base.dtype import DType, as_dtype, int32, int64
from dtrain.base.errors import expected
from dtrain.base.tensor_type import TensorType
from dtrain.kernels.registry import Attrs, KernelFunction, KernelInfo, register_kernel

Predicate = Callable[[Sequence[TensorType], Attrs], bool]


class CompiledRow(NamedTuple):
    """One line of a kernels.inc, as the compiled table reports it."""

    op: str
    name: str
    isa: str
    dtype: str
    is_supported: bool
    kernel: KernelFunction


# Leading inputs that are scalars of a dtype of their own: lr, and step.
_LEADING_SCALARS = {"sgd_update": 1, "adam_update": 2}

# Integer inputs beside the floating ones: class numbers and pooling indices.
_INDEX_DTYPES = {
    "max_pool2d_backward": (int32,),
    "softmax_cross_entropy": (int32, int64),
    "softmax_cross_entropy_backward": (int32, int64),
}


def compiled_rows() -> tuple[CompiledRow, ...]:
    """Every compiled kernel, best first within an op; empty, with a warning, where the module is not built."""
    try:
        from dtrain.kernels import _cpu
    except ImportError as error:
        advice = "run `pip install .` with a C++ compiler, or go on with the slow NumPy reference"
        warnings.warn(expected("dtrain.kernels", "the compiled module _cpu", str(error), advice), stacklevel=2)
        return ()
    _cpu.set_bfloat16(np.dtype(ml_dtypes.bfloat16).num)
    return tuple(CompiledRow(*row) for row in _cpu.kernel_table())


def takes_dtype(op: str, dtype: DType) -> Predicate:
    """Every input has `dtype`, except the op's leading scalars and the integers that go with floats."""
    first = _LEADING_SCALARS.get(op, 0)
    beside = _INDEX_DTYPES.get(op, ())

    def accepts(types: Sequence[TensorType], attrs: Attrs) -> bool:
        return all(given.dtype is dtype or given.dtype in beside for given in types[first:])

    return accepts


def register_row(row: CompiledRow) -> KernelInfo:
    """List one compiled kernel in the registry."""
    return register_kernel(
        KernelInfo(
            op=row.op,
            name=row.name,
            isa=row.isa,
            function=row.kernel,
            accepts=takes_dtype(row.op, as_dtype(row.dtype)),
            needs_contiguous=True,
        )
    )


def register_all(rows: Sequence[CompiledRow]) -> list[KernelInfo]:
    """List every kernel that this CPU can run."""
    return [register_row(row) for row in rows if row.is_supported]


register_all(compiled_rows())
