"""What compiled kernels ask of a problem beyond its dtypes: a function each, beside the rows that it holds for.

A row is named by its op in a kernels.inc. Where that is a special case of an op, its prefix says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dtrain.base.layout import LAID_OUT, Layout
from dtrain.kernels.candidate import Condition
from dtrain.kernels.problem import Problem

SPECIAL_PREFIXES = ("depthwise_",)

_CONDITIONS: dict[str, list[Condition]] = {}


# They run over whole arrays, each element from those in its place: any layout is taken as it lies.
_LANE_BY_LANE = {
    *("relu", "relu_backward", "relu6", "relu6_backward", "sigmoid", "sigmoid_backward", "silu", "silu_backward"),
    *("hswish", "hswish_backward", "gelu", "gelu_backward", "tanh_backward"),
}


def layouts_of(row_op: str) -> tuple[Layout, ...]:
    """The layouts that the rows of this op name besides the plain one."""
    return LAID_OUT if row_op in _LANE_BY_LANE else ()


def served_op(row_op: str) -> str:
    """The op that a row computes: `conv2d` for `depthwise_conv2d`."""
    for prefix in SPECIAL_PREFIXES:
        row_op = row_op.removeprefix(prefix)
    return row_op


def conditions_of(row_op: str) -> Iterator[Condition]:
    """What the rows of this op ask."""
    yield from _CONDITIONS.get(row_op, ())


def asked_by(*row_ops: str) -> Callable[[Condition], Condition]:
    """Decorate a condition with the rows that ask it."""

    def decorate(condition: Condition) -> Condition:
        for row_op in row_ops:
            _CONDITIONS.setdefault(row_op, []).append(condition)
        return condition

    return decorate


@asked_by("depthwise_conv2d", "depthwise_conv2d_backward_data", "depthwise_conv2d_backward_weights")
def one_channel_a_group(problem: Problem) -> str | None:
    """Of (x, w), (dy, w) or (dy, x): each group is one input channel."""
    groups: int = problem.attrs["groups"]
    second = problem.inputs[1].shape[1]
    channels = second // groups if "weight_shape" in problem.attrs else second
    return None if groups > 1 and channels == 1 else "takes several groups of one input channel each"


@asked_by("softmax", "softmax_backward", "log_softmax", "log_softmax_backward")
def last_axis(problem: Problem) -> str | None:
    ndim = problem.inputs[0].ndim
    return None if ndim and problem.attrs["axis"] in (-1, ndim - 1) else "takes the last axis"


@asked_by("layer_norm", "layer_norm_backward")
def rows_with_elements(problem: Problem) -> str | None:
    return None if problem.inputs[-1].size else "takes rows of at least one element"


@asked_by("adam_update")
def no_amsgrad(problem: Problem) -> str | None:
    return "knows no amsgrad" if "amsgrad" in problem.attrs else None


@asked_by("max_pool2d", "average_pool2d", "average_pool2d_backward")
def plain_windows(problem: Problem) -> str | None:
    """Neither dilated, nor sticking out, nor divided by a number of their own."""
    unknown = [name for name in ("dilation", "ceil_mode", "divisor") if name in problem.attrs]
    return f"knows no {' and no '.join(unknown)}" if unknown else None
