"""What depthwise convolution by blocks of 16 channels says of itself (kernels/cpu/convolution/depthwise_blocks.h)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from dtrain.kernels.depthwise import one_channel_a_group
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_BLOCK = 16
_FIRST_CACHE = 1 << 15


def one_output_a_channel(problem: Problem) -> str | None:
    """Of (x, w), (dy, w) or (dy, x): each group is one channel, in and out."""
    weights: tuple[int, ...] = problem.attrs.get("weight_shape", problem.inputs[1].shape)
    if one_channel_a_group(problem) is not None or weights[0] != problem.attrs["groups"]:
        return "takes several groups of one channel each, in and out"
    return None


def _sides(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Of the plane that is read, of the image that stands in it, and of the other image."""
    attrs = problem.attrs
    kernel: tuple[int, ...] = attrs.get("weight_shape", problem.inputs[1].shape)[2:]
    reach = [(size - 1) * apart for size, apart in zip(kernel, attrs["dilation"])]
    if problem.op == "conv2d_backward_data":
        dy, dx = problem.inputs[0].shape[2:], problem.outputs[0].shape[2:]
        sides = zip(dx, reach, attrs["padding"], attrs["stride"])
        plane = tuple((size - 1 + pad) // step + max(0, far - pad) // step + 1 for size, far, pad, step in sides)
        return plane, dy, dx
    first, second = problem.inputs[0].shape[2:], problem.inputs[1].shape[2:]
    x, y = (second, first) if "weight_shape" in attrs else (first, problem.outputs[0].shape[2:])
    return tuple((size - 1) * step + far + 1 for size, step, far in zip(y, attrs["stride"], reach)), x, y


def _taps(problem: Problem) -> int:
    weights: tuple[int, ...] = problem.attrs.get("weight_shape", problem.inputs[1].shape)
    return prod(weights[2:])


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of the pieces that depthwise_blocks_shape.h names, for one part of a call."""
    plane, image, other = map(prod, _sides(problem))
    taps, itemsize = _taps(problem), problem.inputs[0].dtype.itemsize
    tables = 8 * (-(-image // _BLOCK) + -(-2 * taps // _BLOCK)) * _BLOCK
    return (plane + 1 + other + taps) * _BLOCK * itemsize + tables


def blocks_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes."""
    return (problem.outputs[0] if problem.op == "conv2d" else problem.inputs[0]).nbytes


def blocks_units(problem: Problem) -> int:
    """What a call may be cut into: images of blocks of channels; blocks where it sums over images, for the weights."""
    blocks: int = -(-problem.attrs["groups"] // _BLOCK)
    return blocks if problem.op == "conv2d_backward_weights" else blocks * problem.inputs[0].shape[0]


def blocks_cost(isa: str) -> Callable[[Problem], float]:
    """Outputs of whole blocks through all taps; both images, in squares. Large planes leave the first cache."""
    vector = INSTRUCTION_SETS[isa].multiplied_bytes

    def cost(problem: Problem) -> float:
        itemsize = problem.inputs[0].dtype.itemsize
        blocks = -(-problem.attrs["groups"] // _BLOCK) * problem.inputs[0].shape[0]
        plane, image, other = map(prod, _sides(problem))
        outputs = image if problem.op == "conv2d_backward_data" and problem.attrs["stride"] != (1, 1) else other
        vectors = _BLOCK * itemsize / vector
        squares = -(-image // _BLOCK) + -(-other // _BLOCK)
        is_near = (plane + other) * _BLOCK * itemsize <= _FIRST_CACHE
        found: float = blocks * vectors * (outputs * _taps(problem) + 8 * _BLOCK * squares)
        return found if is_near else 1.25 * found

    return cost
