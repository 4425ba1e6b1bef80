"""Max, average and adaptive pooling of x[N,C,H,W] and their gradients.

Windows: OH = (H + 2·padding − KH) // stride + 1. Padding never wins a maximum; it is at most half a kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.dtype import int32
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply, apply_tuple
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, Sample, register_op
from dtrain.ops.convolution import Pair, PairLike, as_pair
from dtrain.ops.infer import expect_ndim, floating
from dtrain.ops.shape import reshape, squeeze, unsqueeze


def _images(op: str, x: TensorType) -> None:
    floating(op, x)
    expect_ndim(op, x, 4)


def _windows(op: str, x: TensorType, kernel_size: Pair, stride: Pair, padding: Pair) -> TensorType:
    _images(op, x)
    sizes = []
    for size, kernel, step, around in zip(x.shape[2:], kernel_size, stride, padding):
        if 2 * around > kernel:
            given = f"padding {padding} for kernel {kernel_size}"
            raise ShapeError(expected(op, "padding of at most half the kernel", given))
        if size + 2 * around < kernel:
            given = f"kernel {kernel_size} on {x} padded by {padding}"
            raise ShapeError(expected(op, "a kernel no larger than the padded input", given))
        sizes.append((size + 2 * around - kernel) // step + 1)
    return x.with_(shape=(*x.shape[:2], *sizes))


def _cells(op: str, x: TensorType, output_size: Pair) -> TensorType:
    _images(op, x)
    if min(x.shape[2:]) < 1:
        raise ShapeError(expected(op, "images of at least one pixel", str(x)))
    return x.with_(shape=(*x.shape[:2], *output_size))


# Max ------------------------------------------------------------------------------------------------------------------


def _grad_max(node: TapeNode, grad: Tensor, _: None) -> tuple[Tensor]:
    return (apply(MAX_BACKWARD, grad, node.outputs[1], input_shape=node.inputs[0].shape),)


def _infer_max(x: TensorType, **attrs: Any) -> tuple[TensorType, TensorType]:
    y = _windows("max_pool2d", x, **attrs)
    return y, y.with_(dtype=int32)


MAX = register_op(
    Op(
        name="max_pool2d",
        infer=_infer_max,
        grad=_grad_max,
        saves_outputs=(1,),
        samples=lambda: [
            Sample(inputs=((2, 3, 6, 5),), attrs={"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
            Sample(inputs=((1, 2, 5, 7),), attrs={"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1)}),
            Sample(inputs=((0, 2, 4, 4),), attrs={"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
        ],
    )
)


def _infer_adaptive_max(x: TensorType, *, output_size: Pair) -> tuple[TensorType, TensorType]:
    y = _cells("adaptive_max_pool2d", x, output_size)
    return y, y.with_(dtype=int32)


_ADAPTIVE_SAMPLES = [
    Sample(inputs=((2, 3, 6, 5),), attrs={"output_size": (1, 1)}),
    Sample(inputs=((1, 2, 5, 7),), attrs={"output_size": (3, 4)}),
]

ADAPTIVE_MAX = register_op(
    Op(
        name="adaptive_max_pool2d",
        infer=_infer_adaptive_max,
        grad=_grad_max,
        saves_outputs=(1,),
        samples=lambda: _ADAPTIVE_SAMPLES,
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
        samples=lambda: [
            Sample(
                inputs=((1, 2, 2, 2), np.array([[[[0, 1], [5, 11]], [[2, 2], [7, 2]]]], dtype=np.int32)),
                attrs={"input_shape": (1, 2, 3, 4)},
            )
        ],
    )
)


def max_pool2d(
    x: Tensor,
    kernel_size: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window of x[N,C,H,W]; the first of equal ones, and NaN over all.

    Args:
        kernel_size, stride, padding: an int or (rows, columns); the stride is the kernel's size unless given.
        return_indices: give (y, indices) with indices s32 = h·W + w of each maximum in its plane.
    """
    kernel = as_pair("max_pool2d", "kernel_size", kernel_size, 1)
    step = kernel if stride is None else as_pair("max_pool2d", "stride", stride, 1)
    around = as_pair("max_pool2d", "padding", padding, 0)
    both = apply_tuple(MAX, x, kernel_size=kernel, stride=step, padding=around)
    return both if return_indices else both[0]


def max_pool1d(x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0) -> Tensor:
    """The maximum of each window of x[N,C,L]."""
    y: Tensor = max_pool2d(unsqueeze(x, 2), (1, kernel_size), (1, stride or kernel_size), (0, padding))
    return squeeze(y, 2)


def adaptive_max_pool2d(x: Tensor, output_size: PairLike, return_indices: bool = False) -> Any:
    """The maximum of each of `output_size` cells that cover x[N,C,H,W]; with `return_indices` also where it lies."""
    both = apply_tuple(ADAPTIVE_MAX, x, output_size=as_pair("adaptive_max_pool2d", "output_size", output_size, 1))
    return both if return_indices else both[0]


# Average --------------------------------------------------------------------------------------------------------------


def _infer_average(
    x: TensorType, *, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool
) -> TensorType:
    return _windows("average_pool2d", x, kernel_size, stride, padding)


def _grad_average(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(AVERAGE_BACKWARD, grad, input_shape=node.inputs[0].shape, **node.attrs),)


_AVERAGE_CASES: tuple[tuple[Shape, Shape, dict[str, Any]], ...] = (
    (
        (2, 3, 6, 5),
        (2, 3, 3, 2),
        {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "count_include_pad": True},
    ),
    (
        (1, 2, 5, 7),
        (1, 2, 3, 8),
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "count_include_pad": False},
    ),
    (
        (1, 2, 5, 7),
        (1, 2, 3, 4),
        {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "count_include_pad": True},
    ),
)

AVERAGE = register_op(
    Op(
        name="average_pool2d",
        infer=_infer_average,
        grad=_grad_average,
        samples=lambda: [Sample(inputs=(x,), attrs=attrs) for x, _, attrs in _AVERAGE_CASES],
    )
)


def _infer_average_backward(grad: TensorType, *, input_shape: Shape, **attrs: Any) -> TensorType:
    x = grad.with_(shape=input_shape)
    wanted = _infer_average(x, **attrs)
    if grad.shape != wanted.shape:
        raise ShapeError(expected("average_pool2d_backward", f"a gradient of shape {wanted.shape}", str(grad)))
    return x


def _grad_average_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    attrs = {name: value for name, value in node.attrs.items() if name != "input_shape"}
    return (apply(AVERAGE, grad, **attrs),)


AVERAGE_BACKWARD = register_op(
    Op(
        name="average_pool2d_backward",
        infer=_infer_average_backward,
        grad=_grad_average_backward,
        samples=lambda: [Sample(inputs=(y,), attrs={"input_shape": x, **attrs}) for x, y, attrs in _AVERAGE_CASES],
    )
)


def avg_pool2d(
    x: Tensor,
    kernel_size: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of x[N,C,H,W].

    Args:
        count_include_pad: divide by the kernel's size everywhere; otherwise by the inputs that a window really sees.
    """
    kernel = as_pair("avg_pool2d", "kernel_size", kernel_size, 1)
    return apply(
        AVERAGE,
        x,
        kernel_size=kernel,
        stride=kernel if stride is None else as_pair("avg_pool2d", "stride", stride, 1),
        padding=as_pair("avg_pool2d", "padding", padding, 0),
        count_include_pad=count_include_pad,
    )


def avg_pool1d(
    x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window of x[N,C,L]."""
    y = avg_pool2d(unsqueeze(x, 2), (1, kernel_size), (1, stride or kernel_size), (0, padding), count_include_pad)
    return squeeze(y, 2)


def _infer_adaptive_average(x: TensorType, *, output_size: Pair) -> TensorType:
    return _cells("adaptive_average_pool2d", x, output_size)


def _grad_adaptive_average(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(ADAPTIVE_AVERAGE_BACKWARD, grad, input_shape=node.inputs[0].shape),)


ADAPTIVE_AVERAGE = register_op(
    Op(
        name="adaptive_average_pool2d",
        infer=_infer_adaptive_average,
        grad=_grad_adaptive_average,
        samples=lambda: _ADAPTIVE_SAMPLES,
    )
)


def _infer_adaptive_average_backward(grad: TensorType, *, input_shape: Shape) -> TensorType:
    _images("adaptive_average_pool2d_backward", grad)
    return grad.with_(shape=input_shape)


def _grad_adaptive_average_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(ADAPTIVE_AVERAGE, grad, output_size=node.inputs[0].shape[2:]),)


ADAPTIVE_AVERAGE_BACKWARD = register_op(
    Op(
        name="adaptive_average_pool2d_backward",
        infer=_infer_adaptive_average_backward,
        grad=_grad_adaptive_average_backward,
        samples=lambda: [
            Sample(inputs=((2, 3, 1, 1),), attrs={"input_shape": (2, 3, 6, 5)}),
            Sample(inputs=((1, 2, 3, 4),), attrs={"input_shape": (1, 2, 5, 7)}),
        ],
    )
)


def adaptive_avg_pool2d(x: Tensor, output_size: PairLike) -> Tensor:
    """The mean of each of `output_size` cells that cover x[N,C,H,W]: cell i spans [i·H // OH, ⌈(i + 1)·H / OH⌉)."""
    return apply(ADAPTIVE_AVERAGE, x, output_size=as_pair("adaptive_avg_pool2d", "output_size", output_size, 1))
