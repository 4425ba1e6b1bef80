"""What depthwise convolution on plain images says of itself (kernels/cpu/convolution/depthwise.h)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.problem import Problem

_LANES = 16  # of the widest vector: rows are padded to them


def one_channel_a_group(problem: Problem) -> str | None:
    """Of (x, w), (dy, w) or (dy, x): each group is one input channel."""
    groups: int = problem.attrs["groups"]
    second = problem.inputs[1].shape[1]
    channels = second // groups if "weight_shape" in problem.attrs else second
    if groups == 1 or channels != 1:
        return "takes several groups of one input channel each"
    return None


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of a plane in its zeros (`plane_for` of convolution.h), and twice 16 numbers a tap. For one part."""
    attrs = problem.attrs
    kernel: tuple[int, ...] = attrs.get("weight_shape", problem.inputs[1].shape)[2:]
    is_data = problem.op == "conv2d_backward_data"
    steps = (1, 1) if is_data else attrs["stride"]
    height, width = (problem.inputs if problem.op == "conv2d_backward_weights" else problem.outputs)[0].shape[2:]
    reach = [(size - 1) * apart for size, apart in zip(kernel, attrs["dilation"])]
    rows = (height - 1) * steps[0] + reach[0] + 1
    pitch = -(-width // _LANES) * _LANES + reach[1] // steps[1] + _LANES
    plane: int = -(-rows * steps[1] * pitch // _LANES) * _LANES
    return (plane + 2 * _LANES * prod(kernel)) * problem.inputs[0].dtype.itemsize


def depthwise_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes."""
    return 4 * (problem.outputs[0] if problem.op == "conv2d" else problem.inputs[0]).nbytes


def depthwise_units(problem: Problem) -> int:
    """What a call may be cut into: channels of x."""
    groups: int = problem.attrs["groups"]
    return groups


def depthwise_cost(isa: str) -> Callable[[Problem], float]:
    """Rows of whole vectors through all taps, a load or two each, and planes laid into zeros.

    With a stride columns are dealt out or spread one by one. Gradients lay planes anew for each output channel.
    """
    whole = INSTRUCTION_SETS[isa].vector_bytes
    vector = INSTRUCTION_SETS[isa].multiplied_bytes

    def cost(problem: Problem) -> float:
        attrs, itemsize = problem.attrs, problem.inputs[0].dtype.itemsize
        weights: tuple[int, ...] = attrs.get("weight_shape", problem.inputs[1].shape)
        first, second = problem.inputs[0].shape, problem.outputs[0].shape
        if problem.op == "conv2d_backward_weights":
            first, second = problem.inputs[1].shape, first
        planes = first[0] * weights[0]
        rows = planes * second[2] * -(-second[3] * itemsize // whole) * whole // vector
        moved = (first[0] * first[1] if problem.op == "conv2d" else planes) * prod(first[2:])
        if attrs["stride"][1] == 1:
            each = 2 * itemsize / vector
        else:
            each = 3 if problem.op == "conv2d_backward_data" else 1.5
        return 3 * rows * prod(weights[2:]) + moved * each

    return cost
