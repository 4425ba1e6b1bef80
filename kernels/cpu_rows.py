"""What compiled kernels say beyond their dtypes: one record an op and algorithm, beside what the records are made of.

A line of a kernels.inc without a record here computes every problem of its op on plain arrays, without a workspace, and
costs the vectors that it reads and writes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from math import prod
from typing import Any

from dtrain.base.alignment import aligned
from dtrain.base.layout import LAID_OUT
from dtrain.kernels.convolution_cost import im2col_cost
from dtrain.kernels.cpu_convolution import workspace_nbytes
from dtrain.kernels.depthwise import depthwise_cost, depthwise_units, depthwise_work, one_channel_a_group
from dtrain.kernels.depthwise import workspace_nbytes as plane_nbytes
from dtrain.kernels.depthwise_blocks import blocks_cost, blocks_units, blocks_work, one_output_a_channel
from dtrain.kernels.depthwise_blocks import workspace_nbytes as blocks_nbytes
from dtrain.kernels.direct import direct_cost, direct_units, direct_work
from dtrain.kernels.direct import workspace_nbytes as direct_nbytes
from dtrain.kernels.formula.table import KERNELS
from dtrain.kernels.pointwise import one_pixel, pointwise_cost, pointwise_units, pointwise_work
from dtrain.kernels.pointwise import workspace_nbytes as pointwise_nbytes
from dtrain.kernels.problem import Problem
from dtrain.kernels.row import Row, knows_no, one_shape, some_elements
from dtrain.kernels.sharing import for_each_part
from dtrain.kernels.winograd import three_by_three, winograd_cost, winograd_units, winograd_work
from dtrain.kernels.winograd import workspace_nbytes as winograd_nbytes

_ROWS: dict[tuple[str, str], Row] = {}


def row_of(op: str, algorithm: str) -> Row:
    """The record of the lines of this op and algorithm."""
    return _ROWS.get((op, algorithm)) or Row(op=op, by=algorithm)


def compiled(*ops: str, by: str = "", **said: Any) -> None:
    """Record what the kernels of these ops `by` an algorithm say: fields of `Row`."""
    for op in ops:
        assert (op, by) not in _ROWS, f"{op} by {by or 'its only algorithm'} has a record already"
        _ROWS[op, by] = Row(op=op, by=by, **said)


# Elementwise: they run over whole arrays, each element from those in its place, so that any layout is taken as it lies.
# Broadcasting is left to NumPy.
compiled("gelu", "gelu_backward", *(kernel.name for kernel in KERNELS), asks=(one_shape,), layouts=LAID_OUT)


# Convolution


_CONVOLUTIONS = ("conv2d", "conv2d_backward_data", "conv2d_backward_weights")
compiled(
    *_CONVOLUTIONS,
    by="depthwise",
    asks=(one_channel_a_group, some_elements),
    cost=depthwise_cost,
    workspace=for_each_part(plane_nbytes, depthwise_work, depthwise_units),
)
compiled(
    *_CONVOLUTIONS,
    by="depthwise_blocks",
    asks=(one_output_a_channel, some_elements),
    cost=blocks_cost,
    workspace=for_each_part(blocks_nbytes, blocks_work, blocks_units),
)
compiled(
    *_CONVOLUTIONS,
    by="direct",
    asks=(some_elements,),
    cost=direct_cost,
    workspace=for_each_part(direct_nbytes, direct_work, direct_units),
)
compiled(
    *_CONVOLUTIONS,
    by="pointwise",
    asks=(some_elements, one_pixel),
    cost=pointwise_cost,
    workspace=for_each_part(pointwise_nbytes, pointwise_work, pointwise_units),
)
compiled(*_CONVOLUTIONS, by="im2col", cost=im2col_cost, workspace=workspace_nbytes)
compiled(
    *_CONVOLUTIONS,
    by="winograd",
    asks=(three_by_three, some_elements),
    cost=winograd_cost,
    workspace=for_each_part(winograd_nbytes, winograd_work, winograd_units),
    rounding=8.0,
)


# Layouts


def blocks_of_channels(problem: Problem) -> str | None:
    is_blocked = problem.attrs["source"].is_blocked or problem.attrs["layout"].is_blocked
    return None if is_blocked else "only moves channels into blocks or out of them"


BLOCKED = tuple(layout for layout in LAID_OUT if layout.is_blocked)
compiled("relayout", asks=(blocks_of_channels,), layouts=BLOCKED)


# Rows, and columns of images


def last_axis(problem: Problem) -> str | None:
    ndim = problem.inputs[0].ndim
    return None if ndim and problem.attrs["axis"] in (-1, ndim - 1) else "takes the last axis"


def another_axis(problem: Problem) -> str | None:
    return "takes an axis with others behind it" if last_axis(problem) is None or not problem.inputs[0].ndim else None


def columns_nbytes(problem: Problem) -> int:
    """A number a column, and where the maximum is sought too another one. For one part."""
    x, axis = problem.inputs[0], problem.attrs["axis"]
    column = aligned(prod(x.shape[axis % x.ndim + 1 :]) * x.dtype.itemsize)
    return column if "backward" in problem.op else 2 * column


def columns_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes."""
    return (3 if "backward" in problem.op else 4) * problem.outputs[0].nbytes


def columns_units(problem: Problem) -> int:
    """What a call may be cut into: what stands before the axis."""
    x, axis = problem.inputs[0], problem.attrs["axis"]
    return prod(x.shape[: axis % x.ndim])


_SOFTMAX = ("softmax", "softmax_backward", "log_softmax", "log_softmax_backward")
compiled(*_SOFTMAX, asks=(last_axis,))
compiled(
    *_SOFTMAX, by="columns", asks=(another_axis,), workspace=for_each_part(columns_nbytes, columns_work, columns_units)
)


def rows_with_elements(problem: Problem) -> str | None:
    return None if problem.inputs[-1].size else "takes rows of at least one element"


def sums_nbytes(problem: Problem) -> int:
    """Sums over rows, of groups of them: bind.cpp of layer_norm says how many."""
    x, weight = problem.inputs[1], problem.inputs[4]
    groups = min(16, -(-x.size // weight.size // 64))
    return aligned(2 * groups * weight.nbytes) if groups > 1 else 0


compiled("layer_norm", asks=(rows_with_elements,))
compiled("layer_norm_backward", asks=(rows_with_elements,), workspace=sums_nbytes)


# Sums over axes


def _reduced_axes(problem: Problem) -> set[int]:
    x, attrs = problem.inputs[0], problem.attrs
    if "axis" in attrs:
        return {axis % x.ndim for axis in attrs["axis"]}
    narrow = (1,) * (x.ndim - len(attrs["shape"])) + attrs["shape"]
    return {axis for axis, size in enumerate(narrow) if size != x.shape[axis]}


def _runs(problem: Problem) -> list[bool]:
    """Whether runs of neighbouring axes are reduced, the last run first. Axes of one element are in any run."""
    shape, reduced = problem.inputs[0].shape, _reduced_axes(problem)
    return [key for key, _ in groupby(axis in reduced for axis in reversed(range(len(shape))) if shape[axis] != 1)]


def last_axes_reduced(problem: Problem) -> str | None:
    runs = _runs(problem)
    is_meant = not runs or (runs[0] and len(runs) <= 3)
    return None if is_meant else "adds up the last axes, and beside them only the first"


def last_axes_kept(problem: Problem) -> str | None:
    runs = _runs(problem)
    is_meant = runs and not runs[0] and len(runs) <= 3
    return None if is_meant else "adds up axes that are neighbours, with others behind them"


def groups_nbytes(terms: int) -> Callable[[Problem], int]:
    """A sum of each group of so many terms, where there are several: reduction.h says how many."""

    def nbytes(problem: Problem) -> int:
        out = problem.outputs[0]
        groups = -(-problem.inputs[0].size // out.size // terms)
        return aligned(groups * out.nbytes) if groups > 1 else 0

    return nbytes


_SUMS = ("sum", "mean", "sum_to_shape")
compiled(*_SUMS, asks=(some_elements, last_axes_reduced), workspace=groups_nbytes(1 << 15))
compiled(*_SUMS, by="columns", asks=(some_elements, last_axes_kept), workspace=groups_nbytes(128))


# Optimizers

compiled("adam_update", asks=(knows_no("amsgrad"),))


# Pooling


def window_rows_nbytes(problem: Problem) -> int:
    """The rows that a row of outputs and the next one see (`rows_of` of pooling.h). For one part."""
    (kernel_h, kernel_w), (stride_h, stride_w) = problem.attrs["kernel_size"], problem.attrs["stride"]
    pitch = problem.outputs[0].shape[3] + (kernel_w - 1) // stride_w + 16
    rows = 1 << (kernel_h + stride_h - 1).bit_length()
    return int(rows * min(stride_w, kernel_w) * pitch * problem.inputs[0].dtype.itemsize)


def maxima_work(problem: Problem) -> int:
    """Bytes that are moved in the time it takes."""
    return 4 * problem.inputs[0].nbytes


def planes(problem: Problem) -> int:
    """What a call may be cut into."""
    return prod(problem.inputs[0].shape[:2])


# Windows: neither dilated, nor sticking out, nor divided by a number of their own.


def one_window_a_plane(problem: Problem) -> str | None:
    attrs, size = problem.attrs, problem.inputs[0].shape[2:]
    is_whole = attrs["kernel_size"] == size and attrs["padding"] == (0, 0) and "divisor" not in attrs
    return None if is_whole else "takes a window that is the whole plane"


_PLAIN_WINDOWS = knows_no("dilation", "ceil_mode", "divisor")
compiled("avg_pool2d", "avg_pool2d_backward", asks=(_PLAIN_WINDOWS,))
compiled("avg_pool2d", by="plane", asks=(one_window_a_plane,))
compiled("max_pool2d", asks=(_PLAIN_WINDOWS,), workspace=for_each_part(window_rows_nbytes, maxima_work, planes))
