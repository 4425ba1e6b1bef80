"""Max pooling in windows and in adaptive cells of x[N,C,H,W], with the gradient that both share."""

from __future__ import annotations

from typing import Any

from dtrain.base.dtype import int64
from dtrain.core.apply import apply, apply_tuple, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import gradient_of
from dtrain.ops.batch_axis import over_batch
from dtrain.ops.convolution import PairLike, as_one, as_pair
from dtrain.ops.pool_windows import as_one_row, cell_counts, window_attributes
from dtrain.ops.shape import reshape, squeeze, unsqueeze
from dtrain.opset.max_pool import ADAPTIVE_MAX, MAX, MAX_BACKWARD
from dtrain.opset.pool_windows import window_type


@gradient_of(MAX, ADAPTIVE_MAX)
def _grad_max(node: TapeNode, grad: Tensor, _: None) -> tuple[Tensor]:
    return (apply(MAX_BACKWARD, grad, node.outputs[1], input_shape=node.inputs[0].shape),)


@gradient_of(MAX_BACKWARD)
def _grad_max_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor, None]:
    from dtrain.ops.gather_scatter import gather

    dy, indices = node.inputs
    planes, outputs = dy.shape[0] * dy.shape[1], dy.shape[2] * dy.shape[3]
    pixels = reshape(grad, (planes, grad.shape[2] * grad.shape[3]))
    return reshape(gather(pixels, 1, reshape(indices, (planes, outputs))), dy.shape), None


def _chosen(both: tuple[Tensor, Tensor], return_indices: bool) -> Any:
    """What the caller asked for; the backward pass keeps places as s32, half the memory."""
    return (both[0], cast(both[1], int64)) if return_indices else both[0]


def max_pool2d(
    x: Tensor,
    kernel_size: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    dilation: PairLike = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of x[N,C,H,W] or [C,H,W]; the first of equal ones, and NaN over all.

    Args:
        kernel_size, stride, padding: an int or (rows, columns); the stride is the kernel's size unless given.
        dilation: distance between the elements of a window.
        ceil_mode: let a last window stick out behind the padding, so that no element is left out.
        return_indices: give (y, indices) with indices s64 = h·W + w of each maximum in its plane.
    """
    name = "max_pool2d"
    attrs = window_attributes(name, kernel_size, stride, padding, dilation, ceil_mode, as_pair)
    both = over_batch(name, lambda images: apply_tuple(MAX, images, **attrs), x, "N,C,H,W")
    return _chosen(both, return_indices)


def max_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of x[N,C,L] or [C,L]; arguments as those of `max_pool2d`."""
    name = "max_pool1d"
    attrs = window_attributes(name, kernel_size, stride, padding, dilation, ceil_mode, as_one)

    def pooled(rows: Tensor) -> tuple[Tensor, ...]:
        window_type(name, rows.type, **{"dilation": (1,), **attrs})
        return tuple(squeeze(y, 2) for y in apply_tuple(MAX, unsqueeze(rows, 2), **as_one_row(attrs)))

    both = over_batch(name, pooled, x, "N,C,L")
    return _chosen(both, return_indices)


def adaptive_max_pool2d(x: Tensor, output_size: PairLike, return_indices: bool = False) -> Any:
    """The maximum of each of `output_size` cells that cover x[N,C,H,W]; with `return_indices` also where it lies."""
    name, size = "adaptive_max_pool2d", cell_counts("adaptive_max_pool2d", x, output_size)
    both = over_batch(name, lambda images: apply_tuple(ADAPTIVE_MAX, images, output_size=size), x, "N,C,H,W")
    return _chosen(both, return_indices)
