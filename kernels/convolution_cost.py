"""What kernels of convolutions cost, in vector instructions: enough to say which of two is likely the faster."""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_BLAS_VECTOR_BYTES = 32  # BLAS knows its processor, whatever our own kernels were compiled for


def im2col_cost(isa: str) -> Callable[[Problem], float]:
    """Columns are written and read again, then multiplied by BLAS."""
    vector = INSTRUCTION_SETS[isa].vector_bytes

    def cost(problem: Problem) -> float:
        shape, itemsize = convolution_shape(problem), problem.inputs[0].dtype.itemsize
        columns = 0 if shape.is_pointwise else shape.batch * shape.pixels * shape.taps
        return itemsize * (2 * columns / vector + shape.macs / _BLAS_VECTOR_BYTES)

    return cost
