"""The compiled CPU kernels: one candidate per row of the compiled table.

Importing this module registers them. Without the compiled module it warns once, and the references serve; where a
kernel is not compiled for an instruction set, another of the list is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Binder, Candidate, KernelFunction
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.cpu_convolution import Im2colConvolution
from dtrain.kernels.cpu_rows import row_of
from dtrain.kernels.registry import register_kernel


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
    col2im = {(row.isa, row.dtype): row.bind for row in rows if row.op == "col2im"}
    for row in rows:
        if row.op == "im2col":
            yield from _convolutions(row, col2im[row.isa, row.dtype])


def _convolutions(row: CompiledRow, col2im: Binder | None) -> Iterator[Candidate]:
    """The three convolutions over the im2col of `row`."""
    assert row.bind is not None and col2im is not None
    for op, bind in Im2colConvolution(row.bind, col2im).binders().items():
        record = row_of(op, "im2col")
        yield record.candidate(row.dtype, row.isa, run_bound(bind), binder=bind, is_supported=row.is_supported)


def run_bound(bind: Binder) -> KernelFunction:
    """The kernel that binds its arrays and runs at once."""

    def kernel(*inputs: Array, **options: Any) -> None:
        bind(*inputs, **options)()

    return kernel


for _found in candidates_of_rows(compiled_rows()):
    register_kernel(_found)
