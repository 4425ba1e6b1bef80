"""Average pooling in windows and in adaptive cells of x[N,C,H,W], each with its gradient."""

from __future__ import annotations

from typing import Any

from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import gradient_of
from dtrain.ops.batch_axis import over_batch
from dtrain.ops.convolution import PairLike, as_one, as_pair
from dtrain.ops.pool_windows import WINDOW, as_one_row, cell_counts, window_attributes
from dtrain.ops.shape import squeeze, unsqueeze
from dtrain.opset.average_pool import ADAPTIVE_AVERAGE, ADAPTIVE_AVERAGE_BACKWARD, AVERAGE, AVERAGE_BACKWARD
from dtrain.opset.infer import as_int
from dtrain.opset.pool_windows import window_type


@gradient_of(AVERAGE)
def _grad_average(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(AVERAGE_BACKWARD, grad, input_shape=node.inputs[0].shape, **node.attrs),)


@gradient_of(AVERAGE_BACKWARD)
def _grad_average_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    attrs = {name: value for name, value in node.attrs.items() if name != "input_shape"}
    return (apply(AVERAGE, grad, **attrs),)


def avg_pool2d(
    x: Tensor,
    kernel_size: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of x[N,C,H,W] or [C,H,W].

    Args:
        ceil_mode: let a last window stick out behind the padding; what sticks out does not count.
        count_include_pad: divide by the kernel's size everywhere; otherwise by the inputs that a window really sees.
        divisor_override: divide by this number instead.
    """
    name = "avg_pool2d"
    attrs = window_attributes(name, kernel_size, stride, padding, 1, ceil_mode, as_pair)
    attrs |= _divisor(name, count_include_pad, divisor_override)

    def pooled(images: Tensor) -> Tensor:
        window_type(name, images.type, **{word: attrs[word] for word in attrs if word in WINDOW})
        return apply(AVERAGE, images, **attrs)

    y: Tensor = over_batch(name, pooled, x, "N,C,H,W")
    return y


def _divisor(name: str, count_include_pad: bool, divisor: int | None) -> dict[str, Any]:
    attrs: dict[str, Any] = {"count_include_pad": bool(count_include_pad)}
    return attrs if divisor is None else {**attrs, "divisor": as_int(name, "divisor_override", divisor, 1)}


def avg_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of x[N,C,L] or [C,L]; arguments as those of `avg_pool2d`."""
    name = "avg_pool1d"
    attrs = window_attributes(name, kernel_size, stride, padding, 1, ceil_mode, as_one)
    counting = _divisor(name, count_include_pad, None)

    def pooled(rows: Tensor) -> Tensor:
        window_type(name, rows.type, **attrs)
        return squeeze(apply(AVERAGE, unsqueeze(rows, 2), **as_one_row(attrs), **counting), 2)

    y: Tensor = over_batch(name, pooled, x, "N,C,L")
    return y


@gradient_of(ADAPTIVE_AVERAGE)
def _grad_adaptive_average(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(ADAPTIVE_AVERAGE_BACKWARD, grad, input_shape=node.inputs[0].shape),)


@gradient_of(ADAPTIVE_AVERAGE_BACKWARD)
def _grad_adaptive_average_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(ADAPTIVE_AVERAGE, grad, output_size=node.inputs[0].shape[2:]),)


def adaptive_avg_pool2d(x: Tensor, output_size: PairLike) -> Tensor:
    """The mean of each of `output_size` cells that cover x[N,C,H,W]: cell i spans [i·H // OH, ⌈(i + 1)·H / OH⌉)."""
    name, size = "adaptive_avg_pool2d", cell_counts("adaptive_avg_pool2d", x, output_size)
    y: Tensor = over_batch(name, lambda images: apply(ADAPTIVE_AVERAGE, images, output_size=size), x, "N,C,H,W")
    return y
