"""What convolution by a kernel of one pixel says of itself (kernels/cpu/convolution/pointwise.h)."""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_TOGETHER = 1 << 17  # weights in the workspace
_PIECE = 32  # pixels or outputs
_VECTOR_BYTES = 32  # multiplied a cycle and port, also where AVX-512 has vectors of 64


def one_pixel(problem: Problem) -> str | None:
    """Of (x, w) or (dy, w)."""
    is_whole = problem.attrs["groups"] == 1 and convolution_shape(problem).is_pointwise
    return None if is_whole else "takes kernels of one pixel and one group, without stride and padding"


def _sizes(problem: Problem) -> tuple[int, int, int]:
    """Channels in, channels out, and pixels over all images."""
    first, out = problem.inputs[0].shape, problem.outputs[0].shape
    return first[1], out[1], first[0] * first[2] * first[3]


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of a part, as `PointwiseShape` of pointwise_shape.h says."""
    inputs, outputs, _ = _sizes(problem)
    together = min(outputs, max(_PIECE, _TOGETHER // inputs // _PIECE * _PIECE))
    pixels = _PIECE * min(8, max(1, 2048 // inputs))
    return (together + 16 + pixels) * inputs * problem.inputs[0].dtype.itemsize


def pointwise_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes: four products each."""
    inputs, outputs, pixels = _sizes(problem)
    return inputs * outputs * pixels // 4


def pointwise_units(problem: Problem) -> int:
    """What a call may be cut into: outputs or pixels, the more of them."""
    _, outputs, pixels = _sizes(problem)
    return -(-max(outputs, pixels) // _PIECE)


def pointwise_cost(isa: str) -> Callable[[Problem], float]:
    """Products of whole panels; images and weights, moved into place."""
    vector = min(INSTRUCTION_SETS[isa].vector_bytes, _VECTOR_BYTES)

    def cost(problem: Problem) -> float:
        inputs, outputs, pixels = _sizes(problem)
        itemsize = problem.inputs[0].dtype.itemsize
        products = inputs * outputs * -(-pixels // _PIECE) * _PIECE * itemsize / vector
        return products + 0.3 * (inputs + outputs) * pixels + inputs * outputs

    return cost
