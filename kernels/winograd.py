"""What Winograd's convolution says of itself (kernels/cpu/winograd): what it takes, its workspace, and its cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_BLOCK = 16
_POSITIONS = 36  # of a transformed tile, 6×6
_TAPS = 9
_LEAST_TILES = 112
_CACHE_BYTES = 1 << 20


class WinogradShape(NamedTuple):
    """Counts of one convolution, from an image of `inputs` channels to one of `outputs`."""

    inputs: int
    outputs: int
    tile_rows: int
    tile_columns: int
    batch: int

    @property
    def tiles(self) -> int:
        return self.batch * self.tile_rows * self.tile_columns

    @property
    def blocks(self) -> tuple[int, int]:
        return -(-self.inputs // _BLOCK), -(-self.outputs // _BLOCK)


def winograd_shape(problem: Problem) -> WinogradShape:
    """Of conv2d (x, w); of conv2d_backward_data (dy, w), a convolution of dy; or of conv2d_backward_weights (dy, x)."""
    if problem.op == "conv2d_backward_weights":
        dy, x = (type.shape for type in problem.inputs)
    else:
        x, dy = problem.inputs[0].shape, problem.outputs[0].shape
    return WinogradShape(x[1], dy[1], -(-dy[2] // 4), -(-dy[3] // 4), x[0])


def three_by_three(problem: Problem) -> str | None:
    """Kernels of 3×3 and stride 1 over all channels."""
    attrs = problem.attrs
    size = attrs.get("weight_shape", problem.inputs[1].shape)[2:]
    plain = attrs["stride"] == (1, 1) == attrs["dilation"] and attrs["groups"] == 1
    if tuple(size) != (3, 3) or not plain:
        return "takes kernels of 3×3 with stride 1, dilation 1 and one group"
    if max(attrs["padding"]) > 2:
        return "takes a padding of at most 2"
    return None


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of the pieces that winograd.h names: matrices of weights and of a chunk of tiles, and images in blocks.

    Those of one part of a call.
    """
    shape = winograd_shape(problem)
    itemsize = problem.inputs[0].dtype.itemsize
    inputs, outputs = shape.blocks
    chunk = max(_CACHE_BYTES // (_POSITIONS * _BLOCK * (inputs + outputs) * itemsize), _LEAST_TILES)
    chunk = min(chunk, shape.tiles)
    image = inputs * _BLOCK * (4 * shape.tile_rows + 2) * (4 * shape.tile_columns + 2)
    result = outputs * _BLOCK * _BLOCK * shape.tile_rows * shape.tile_columns
    weights = inputs * outputs * _BLOCK**2 + _BLOCK
    tiles = (inputs + outputs) * _BLOCK * chunk + 2 * _BLOCK
    return (image + result + _POSITIONS * (weights + tiles) + _TAPS * weights) * itemsize


def winograd_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes."""
    return problem.inputs[0].shape[1] * problem.outputs[0].size


def winograd_units(problem: Problem) -> int:
    """What a call may be cut into: images. Gradients of weights are sums over them, which nobody shares."""
    return 1 if problem.op == "conv2d_backward_weights" else problem.inputs[0].shape[0]


def winograd_cost(isa: str) -> Callable[[Problem], float]:
    """Products, transforms of tiles, and those of weights, whose taps are read one by one."""
    vector = INSTRUCTION_SETS[isa].multiplied_bytes

    def cost(problem: Problem) -> float:
        shape, itemsize = winograd_shape(problem), problem.inputs[0].dtype.itemsize
        inputs, outputs = (_BLOCK * blocks for blocks in shape.blocks)
        vectors = _POSITIONS * shape.tiles * inputs * outputs + 150 * shape.tiles * (inputs + outputs)
        weights = inputs * outputs * (18 + 100 * itemsize / vector)
        return vectors * itemsize / vector + weights

    return cost
