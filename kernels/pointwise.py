"""What convolution by a kernel of one pixel says of itself (kernels/cpu/convolution/pointwise.h)."""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_WEIGHTS = "conv2d_backward_weights"
_TOGETHER = 1 << 17  # weights in the workspace
_BLOCK, _PIECE = 16, 32  # pixels or channels
_CHUNK = 64  # pixels that are added one by one to gradients of weights
_SUMS = 1 << 16  # of weights, in the workspace


def one_pixel(problem: Problem) -> str | None:
    """Of (x, w), (dy, w) or (dy, x)."""
    is_whole = problem.attrs["groups"] == 1 and convolution_shape(problem).is_pointwise
    return None if is_whole else "takes kernels of one pixel and one group, without stride and padding"


def _sizes(problem: Problem) -> tuple[int, int, int]:
    """Channels in, channels out, and pixels over all images; for the weights the fewer channels, and the more."""
    first, out = problem.inputs[0].shape, problem.outputs[0].shape
    pixels = first[0] * first[2] * first[3]
    return (first[1], out[1], pixels) if problem.op != _WEIGHTS else (min(out[:2]), max(out[:2]), pixels)


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of a part, as `PointwiseShape` and `PointwiseSums` of pointwise_shape.h say."""
    inputs, outputs, _ = _sizes(problem)
    if problem.op == _WEIGHTS:
        columns = -(-inputs // _BLOCK) * _BLOCK
        rows = min(outputs, max(_PIECE, _SUMS // columns // _PIECE * _PIECE))
        return (columns * (_CHUNK + rows) + _BLOCK * _CHUNK) * problem.inputs[0].dtype.itemsize
    together = min(outputs, max(_PIECE, _TOGETHER // inputs // _PIECE * _PIECE))
    pixels = _PIECE * min(8, max(1, 2048 // inputs))
    return (together + 16 + pixels) * inputs * problem.inputs[0].dtype.itemsize


def pointwise_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes: four products each."""
    inputs, outputs, pixels = _sizes(problem)
    return inputs * outputs * pixels // 4


def pointwise_units(problem: Problem) -> int:
    """What a call may be cut into: outputs or pixels, the more of them; for the weights the more channels."""
    _, outputs, pixels = _sizes(problem)
    return -(-(outputs if problem.op == _WEIGHTS else max(outputs, pixels)) // _PIECE)


def pointwise_cost(isa: str) -> Callable[[Problem], float]:
    """Products of whole panels; images and weights, moved into place: for the weights again for some of the rows."""
    vector = INSTRUCTION_SETS[isa].multiplied_bytes

    def cost(problem: Problem) -> float:
        inputs, outputs, pixels = _sizes(problem)
        itemsize = problem.inputs[0].dtype.itemsize
        if problem.op == _WEIGHTS:
            columns = -(-inputs // _BLOCK) * _BLOCK
            times = -(-outputs // max(_PIECE, _SUMS // columns // _PIECE * _PIECE))
            products = outputs * columns * pixels * itemsize / vector
            return 1.1 * products + (times * columns + 0.4 * outputs) * pixels + 2 * inputs * outputs
        products = inputs * outputs * -(-pixels // _PIECE) * _PIECE * itemsize / vector
        return products + 0.3 * (inputs + outputs) * pixels + inputs * outputs

    return cost
