"""Max pooling in windows and in adaptive cells of x[N,C,H,W], with the gradient that both share."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.dtype import int32, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply, apply_tuple, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, Typed, large
from dtrain.ops.batch_axis import over_batch
from dtrain.ops.convolution import Pair, PairLike, as_one, as_pair
from dtrain.ops.pool_windows import (
    adaptive_calls,
    as_one_row,
    cell_counts,
    cell_type,
    expect_images,
    window_attributes,
    window_type,
)
from dtrain.ops.shape import reshape, squeeze, unsqueeze


def _grad_max(node: TapeNode, grad: Tensor, _: None) -> tuple[Tensor]:
    return (apply(MAX_BACKWARD, grad, node.outputs[1], input_shape=node.inputs[0].shape),)


def _infer_max(x: TensorType, **attrs: Any) -> tuple[TensorType, TensorType]:
    expect_images("max_pool2d", x)
    y = window_type("max_pool2d", x, **attrs)
    return y, y.with_(dtype=int32)


_DILATED = {
    "kernel_size": (2, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (2, 3), "ceil_mode": True,
}  # fmt: skip

MAX = register_op(
    Op(
        name="max_pool2d",
        infer=_infer_max,
        grad=_grad_max,
        saves_outputs=(1,),
        calls=lambda: [
            Call(inputs=((2, 3, 6, 5),), attrs={"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
            Call(inputs=((1, 2, 5, 7),), attrs={"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}),
            Call(inputs=((0, 2, 4, 4),), attrs={"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
            Call(inputs=((1, 2, 5, 7),), attrs=_DILATED),
            large("16x64x32x32, 2x2/2", (16, 64, 32, 32), kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)),
        ],
    )
)


def _infer_adaptive_max(x: TensorType, *, output_size: Pair) -> tuple[TensorType, TensorType]:
    y = cell_type("adaptive_max_pool2d", x, output_size)
    return y, y.with_(dtype=int32)


ADAPTIVE_MAX = register_op(
    Op(
        name="adaptive_max_pool2d",
        infer=_infer_adaptive_max,
        grad=_grad_max,
        saves_outputs=(1,),
        calls=adaptive_calls,
    )
)


def _infer_max_backward(grad: TensorType, indices: TensorType, *, input_shape: Shape) -> TensorType:
    if grad.shape != indices.shape:
        raise ShapeError(expected("max_pool2d_backward", "an index for each gradient", f"{grad} and {indices}"))
    if not indices.dtype.is_integer:
        raise DtypeError(expected("max_pool2d_backward", "integer indices", str(indices)))
    return grad.with_(shape=input_shape)


def _grad_max_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor, None]:
    from dtrain.ops.gather_scatter import gather

    dy, indices = node.inputs
    planes, outputs = dy.shape[0] * dy.shape[1], dy.shape[2] * dy.shape[3]
    pixels = reshape(grad, (planes, grad.shape[2] * grad.shape[3]))
    return reshape(gather(pixels, 1, reshape(indices, (planes, outputs))), dy.shape), None


MAX_BACKWARD = register_op(
    Op(
        name="max_pool2d_backward",
        infer=_infer_max_backward,
        grad=_grad_max_backward,
        beside=(1,),
        calls=lambda: [
            Call(
                inputs=((1, 2, 2, 2), np.array([[[[0, 1], [5, 11]], [[2, 2], [7, 2]]]], dtype=np.int32)),
                attrs={"input_shape": (1, 2, 3, 4)},
            ),
            large(
                "16x64x32x32, 2x2/2",
                (16, 64, 16, 16),
                Typed((16, 64, 16, 16), "int32", 32 * 32),
                input_shape=(16, 64, 32, 32),
            ),
        ],
    )
)


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
