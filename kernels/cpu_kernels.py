"""The compiled CPU kernels: one candidate per row of the compiled table.

Importing this module registers them. Without the compiled module it warns once, and the references serve; where a
kernel is not compiled for an instruction set, another of the list is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dtrain.kernels.candidate import Binder, Candidate, KernelFunction
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.cpu_convolution import Compiled, Im2colConvolution
from dtrain.kernels.cpu_rows import row_of
from dtrain.kernels.registry import register_kernel
from dtrain.kernels.sharing import use_threads


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
    """Every compiled kernel, as listed; empty where the module is not built. Raises as `compiled_module` does."""
    module = compiled_module()
    return () if module is None else tuple(CompiledRow(*row) for row in module.kernel_table())


def candidates_of_rows(rows: Sequence[CompiledRow]) -> Iterator[Candidate]:
    """The candidates of compiled rows: one each, and convolutions on top of each pair of im2col and col2im."""
    for row in rows:
        record = row_of(row.op, row.algorithm)
        yield record.candidate(row.dtype, row.isa, row.kernel, binder=row.bind, is_supported=row.is_supported)
    pieces = {(row.op, row.isa, row.dtype): row for row in rows if row.op in ("im2col", "col2im")}
    for row in rows:
        if row.op == "im2col":
            convolution = Im2colConvolution(_compiled(row), _compiled(pieces["col2im", row.isa, row.dtype]))
            for op in ("conv2d", "conv2d_backward_data", "conv2d_backward_weights"):
                kernel, record = convolution.kernel(op), row_of(op, "im2col")
                yield record.candidate(
                    row.dtype, row.isa, kernel.function, binder=kernel.bind, is_supported=row.is_supported
                )


def _compiled(row: CompiledRow) -> Compiled:
    assert row.bind is not None
    return Compiled(row.kernel, row.bind)


for _found in candidates_of_rows(compiled_rows()):
    register_kernel(_found)
use_threads()
