"""What kernels of convolutions cost, in vector instructions: enough to say which of two is likely the faster."""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

# A pointwise convolution over so many pixels is a large enough product image by image, without any copy.
POINTWISE_PIXELS = 128
# Output pixels that columns are made for at once: an image with more than half of them is a chunk by itself.
TARGET_COLUMNS = 1024

_BLAS_VECTOR_BYTES = 32  # BLAS knows its processor, whatever our own kernels were compiled for


def im2col_cost(isa: str) -> Callable[[Problem], float]:
    """Columns are written, packed and read again, then multiplied by BLAS.

    How much more than one vector a product or a column takes was measured (Zen 4); gradients of weights multiply
    columns across.
    """
    vector = INSTRUCTION_SETS[isa].vector_bytes

    def cost(problem: Problem) -> float:
        shape, itemsize = convolution_shape(problem), problem.inputs[0].dtype.itemsize
        is_of_weights = problem.op == "conv2d_backward_weights"
        columns = shape.batch * shape.pixels * shape.taps
        moves, products = (24, 1.3) if is_of_weights else (12, 1.2)
        if shape.is_pointwise:  # images themselves; small ones, and what they give, side by side
            is_alone = 2 * shape.pixels > TARGET_COLUMNS if is_of_weights else shape.pixels >= POINTWISE_PIXELS
            is_alone = is_alone or (shape.batch == 1 and problem.op != "conv2d_backward_data")
            columns = 0 if is_alone else shape.batch * shape.pixels * (shape.taps + shape.outputs)
            moves = 12
        if problem.attrs["stride"][1] > 1:
            moves += 20  # number by number
        multiplied = products * shape.macs / _BLAS_VECTOR_BYTES
        return itemsize * (moves * columns / vector + multiplied) + shape.weights

    return cost
