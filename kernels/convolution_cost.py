"""What kernels of convolutions cost, in vector instructions: enough to say which of two is likely the faster."""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_BLAS_VECTOR_BYTES = 32  # BLAS knows its processor, whatever our own kernels were compiled for


def im2col_cost(isa: str) -> Callable[[Problem], float]:
    """Columns are written, packed and read again, then multiplied by BLAS.

    How much more than one vector a product or a column takes was measured (Zen 4); gradients of weights multiply
    columns across.
    """
    vector = INSTRUCTION_SETS[isa].vector_bytes

    def cost(problem: Problem) -> float:
        shape, itemsize = convolution_shape(problem), problem.inputs[0].dtype.itemsize
        columns = 0 if shape.is_pointwise else shape.batch * shape.pixels * shape.taps
        moves, products = (24, 1.3) if problem.op == "conv2d_backward_weights" else (12, 1.2)
        if problem.attrs["stride"][1] > 1:
            moves += 20  # number by number
        multiplied = products * shape.macs / _BLAS_VECTOR_BYTES
        return itemsize * (moves * columns / vector + multiplied) + shape.weights

    return cost
