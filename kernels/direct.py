"""What direct convolution says of itself (kernels/cpu/convolution/direct.h): what it takes, its workspace, its cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_BLOCK = 16
_CHUNK_PIXELS = 1024
_CHUNK_WEIGHTS = 1 << 17
_FEWEST_TERMS, _MOST_TERMS = 192, 576
_FEWEST_SUMS = 8  # in registers at once, or the multipliers wait for each other


def _in_blocks(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


@dataclass(frozen=True, slots=True)
class DirectShape:
    """Sizes of a direct convolution, as in direct_shape.h.

    inputs, outputs: channels of a group, on the way that the images go.
    plane: elements of a channel in its zeros.
    """

    batch: int
    groups: int
    inputs: int
    outputs: int
    taps: int
    plane: int
    pixels: int

    @property
    def images(self) -> int:
        """That lie in the workspace together."""
        return min(self.batch, max(1, _CHUNK_PIXELS // self.pixels))

    @property
    def all_terms(self) -> int:
        """Of the sum that is an output."""
        return self.inputs * self.taps

    @property
    def terms(self) -> int:
        """Whose weights lie in the workspace together."""
        terms = min(max(_CHUNK_WEIGHTS // _in_blocks(self.outputs), _FEWEST_TERMS), _MOST_TERMS)
        whole_channels = terms - terms % self.taps
        return min(whole_channels or terms, self.all_terms)


def direct_shape(problem: Problem) -> DirectShape:
    """Of conv2d (x, w) and conv2d_backward_weights (dy, x): from x to y. Of conv2d_backward_data (dy, w): dy to dx."""
    attrs, op = problem.attrs, problem.op
    groups, stride, dilation = attrs["groups"], attrs["stride"], attrs["dilation"]
    weights = attrs.get("weight_shape", problem.inputs[1].shape)
    kernel, taps = weights[2:], prod(weights[2:])
    if op == "conv2d_backward_data":
        dy, dx = problem.inputs[0].shape, problem.outputs[0].shape
        sides = [
            (size - 1 + pad) // step + max(0, ((length - 1) * apart - pad) // step) + 1
            for size, pad, step, length, apart in zip(dx[2:], attrs["padding"], stride, kernel, dilation)
        ]
        pixels = prod(-(-size // step) for size, step in zip(dx[2:], stride))
        return DirectShape(dy[0], groups, dy[1] // groups, dx[1] // groups, taps, prod(sides), pixels)
    x, y = problem.inputs[::-1] if "weight_shape" in attrs else (problem.inputs[0], problem.outputs[0])
    reach = [(length - 1) * apart for length, apart in zip(kernel, dilation)]
    rows = (y.shape[2] - 1) * stride[0] + reach[0] + 1
    columns = stride[1] * (y.shape[3] + reach[1] // stride[1])
    return DirectShape(
        x.shape[0], groups, x.shape[1] // groups, y.shape[1] // groups, taps, rows * columns, prod(y.shape[2:])
    )


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of the pieces that direct_shape.h names, for one part of a call."""
    shape, itemsize = direct_shape(problem), problem.inputs[0].dtype.itemsize
    if problem.op == "conv2d_backward_weights":
        images = shape.images * _in_blocks(shape.inputs) * shape.plane
        grads = shape.images * _in_blocks(shape.outputs) * shape.pixels
        return (images + grads + shape.taps * 3 * _BLOCK**2) * itemsize
    terms = shape.terms
    placed = _in_blocks(shape.images * shape.groups * shape.inputs * shape.plane + _BLOCK)
    weights, panel = _in_blocks(shape.outputs) * terms, _BLOCK * terms + _BLOCK
    sums = 0 if terms == shape.all_terms else _in_blocks(shape.outputs) * shape.images * shape.pixels
    tables = 8 * (_in_blocks(terms) + _in_blocks(2 * shape.taps))
    return (placed + weights + panel + sums) * itemsize + tables


def direct_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes: four products each."""
    weights = problem.attrs.get("weight_shape", problem.inputs[1].shape)
    y = problem.outputs[0] if problem.op == "conv2d" else problem.inputs[0]
    products: int = y.size * prod(weights[1:])
    return products // 4


def direct_units(problem: Problem) -> int:
    """What a call may be cut into: groups, pairs of blocks of outputs, and images, or for weights blocks of inputs."""
    shape = direct_shape(problem)
    is_of_weights = problem.op == "conv2d_backward_weights"
    pairs = -(-shape.outputs // (2 * _BLOCK))
    return shape.groups * pairs * (-(-shape.inputs // _BLOCK) if is_of_weights else shape.batch)


def direct_cost(isa: str) -> Callable[[Problem], float]:
    """Products of whole blocks of outputs; images and weights, moved into place and back; zeros around images.

    The gradient of the input multiplies those zeros too.
    """
    vector = INSTRUCTION_SETS[isa].multiplied_bytes

    def cost(problem: Problem) -> float:
        shape, itemsize = direct_shape(problem), problem.inputs[0].dtype.itemsize
        first, second, out = problem.inputs[0].size, problem.inputs[1].size, problem.outputs[0].size
        is_of_weights = problem.op == "conv2d_backward_weights"
        channels = shape.batch * shape.groups * shape.inputs
        products = channels * shape.pixels * shape.taps * _in_blocks(shape.outputs) * itemsize / vector
        zeros = max(0, channels * shape.plane - (second if is_of_weights else first))
        if is_of_weights:
            sums = min(shape.inputs, _BLOCK // 2) * min(2, -(-shape.outputs // _BLOCK))
            waiting = max(1, _FEWEST_SUMS / sums)
            return waiting * products + 2.5 * (first + second) + zeros + 2 * out
        return products + 2.5 * first + zeros + 1.5 * second + 4 * out

    return cost
