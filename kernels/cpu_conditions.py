"""What compiled kernels ask of a problem beyond its dtypes: a function each, beside the rows that it holds for.

Rows are named by their op in a kernels.inc, and by their algorithm where the list says one: `conv2d by depthwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dtrain.base.layout import LAID_OUT, Layout
from dtrain.kernels.candidate import Condition
from dtrain.kernels.formula.table import KERNELS
from dtrain.kernels.problem import Problem

_CONDITIONS: dict[str, list[Condition]] = {}


# They run over whole arrays, each element from those in its place: any layout is taken as it lies.
_LANE_BY_LANE = {"gelu", "gelu_backward", *(kernel.name for kernel in KERNELS)}


def layouts_of(row_op: str) -> tuple[Layout, ...]:
    """The layouts that the rows of this op name besides the plain one."""
    return LAID_OUT if row_op in _LANE_BY_LANE or row_op == "relayout" else ()


def conditions_of(op: str, algorithm: str) -> Iterator[Condition]:
    """What the rows of this op and algorithm ask."""
    yield from _CONDITIONS.get(_key(op, algorithm), ())


def _key(op: str, algorithm: str) -> str:
    return f"{op} by {algorithm}" if algorithm else op


def asked_by(*rows: str) -> Callable[[Condition], Condition]:
    """Decorate a condition with the rows that ask it."""

    def decorate(condition: Condition) -> Condition:
        for row in rows:
            _CONDITIONS.setdefault(row, []).append(condition)
        return condition

    return decorate


@asked_by("conv2d by depthwise", "conv2d_backward_data by depthwise", "conv2d_backward_weights by depthwise")
def one_channel_a_group(problem: Problem) -> str | None:
    """Of (x, w), (dy, w) or (dy, x): each group is one input channel."""
    groups: int = problem.attrs["groups"]
    second = problem.inputs[1].shape[1]
    channels = second // groups if "weight_shape" in problem.attrs else second
    return None if groups > 1 and channels == 1 else "takes several groups of one input channel each"


@asked_by("relayout")
def blocks_of_channels(problem: Problem) -> str | None:
    is_blocked = problem.attrs["source"].is_blocked or problem.attrs["layout"].is_blocked
    return None if is_blocked else "only moves channels into blocks or out of them"


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


@asked_by("avg_pool2d by plane")
def one_window_a_plane(problem: Problem) -> str | None:
    attrs, size = problem.attrs, problem.inputs[0].shape[2:]
    is_whole = attrs["kernel_size"] == size and attrs["padding"] == (0, 0) and "divisor" not in attrs
    return None if is_whole else "takes a window that is the whole plane"


@asked_by("max_pool2d", "avg_pool2d", "avg_pool2d_backward")
def plain_windows(problem: Problem) -> str | None:
    """Neither dilated, nor sticking out, nor divided by a number of their own."""
    unknown = [name for name in ("dilation", "ceil_mode", "divisor") if name in problem.attrs]
    return f"knows no {' and no '.join(unknown)}" if unknown else None
