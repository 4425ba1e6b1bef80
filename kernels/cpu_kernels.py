"""The compiled CPU kernels: one candidate per row of the compiled table.

Importing this module registers them. Without the compiled module it warns once, and the references serve; where a
kernel is not compiled for an instruction set, another of the list is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from dtrain.base.errors import expected
from dtrain.kernels.build_advice import advice_without_module
from dtrain.kernels.build_digest import expect_current
from dtrain.kernels.candidate import Binder, Candidate, KernelFunction
from dtrain.kernels.convolution_cost import direct_cost
from dtrain.kernels.cpu_conditions import conditions_of, layouts_of
from dtrain.kernels.cpu_convolution import im2col_candidates
from dtrain.kernels.registry import register_kernel, signature_of


class CompiledRow(NamedTuple):
    """A line of a kernels.inc for one instruction set and element type, as the compiled table reports it.

    `algorithm` is empty where the list has one way to compute the op.
    """

    op: str
    algorithm: str
    name: str
    isa: str
    dtype: str
    is_supported: bool
    kernel: KernelFunction
    bind: Binder | None


def compiled_rows() -> tuple[CompiledRow, ...]:
    """Every compiled kernel, as listed; empty, with a warning, where the module is not built.

    Raises ImportError where it was built from other sources.
    """
    try:
        import dtrain.kernels._cpu as _cpu
    except ImportError as error:
        advice = advice_without_module()
        warnings.warn(expected("dtrain.kernels", "the compiled module _cpu", str(error), advice), stacklevel=2)
        return ()
    expect_current(_cpu, Path(__file__).parent)
    _cpu.set_bfloat16(np.dtype(ml_dtypes.bfloat16).num)
    return tuple(CompiledRow(*row) for row in _cpu.kernel_table())


def candidates_of_rows(rows: Sequence[CompiledRow]) -> Iterator[Candidate]:
    """The candidates of compiled rows: one each, and convolutions on top of each pair of im2col and col2im."""
    for row in rows:
        yield Candidate(
            op=row.op,
            name=row.name,
            isa=row.isa,
            function=row.kernel,
            binder=row.bind,
            conditions=(signature_of(row.op).takes(row.dtype), *conditions_of(row.op, row.algorithm)),
            cost=direct_cost(row.isa) if row.algorithm == "depthwise" else None,
            needs_contiguous=True,
            is_supported=row.is_supported,
            layouts=layouts_of(row.op),
        )
    col2im = {(row.isa, row.dtype): row.kernel for row in rows if row.op == "col2im"}
    for row in rows:
        if row.op == "im2col":
            yield from im2col_candidates(
                row.dtype, row.isa, row.is_supported, im2col=row.kernel, col2im=col2im[row.isa, row.dtype]
            )


for _found in candidates_of_rows(compiled_rows()):
    register_kernel(_found)
