"""Average pooling in windows and in adaptive cells of x[N,C,H,W], each with its gradient."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.ops.batch_axis import over_batch
from dtrain.ops.convolution import Pair, PairLike, as_one, as_pair
from dtrain.ops.infer import as_int
from dtrain.ops.pool_windows import (
    WINDOW,
    adaptive_calls,
    as_one_row,
    cell_counts,
    cell_type,
    expect_images,
    window_attributes,
    window_type,
)
from dtrain.ops.shape import squeeze, unsqueeze


def _infer_average(
    x: TensorType,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor: int | None = None,
    ceil_mode: bool = False,
) -> TensorType:
    expect_images("avg_pool2d", x)
    return window_type("avg_pool2d", x, kernel_size, stride, padding, ceil_mode=ceil_mode)


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
    (
        (1, 2, 6, 4),
        (1, 2, 4, 3),
        {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 1), "count_include_pad": True, "ceil_mode": True},
    ),
    (
        (1, 1, 4, 5),
        (1, 1, 2, 3),
        {
            "kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "count_include_pad": False,
            "ceil_mode": True, "divisor": 3,
        },
    ),
)  # fmt: skip

# As above, of pooling that benchmarks time: halving a plane, and all of it.
_LARGE_CASES: tuple[tuple[Shape, Shape, dict[str, Any]], ...] = tuple(
    (x, y, {"kernel_size": size, "stride": size, "padding": (0, 0), "count_include_pad": True})
    for x, y, size in (((16, 64, 32, 32), (16, 64, 16, 16), (2, 2)), ((16, 512, 7, 7), (16, 512, 1, 1), (7, 7)))
)


def _label(x: Shape, size: Pair) -> str:
    return f"{'x'.join(map(str, x))}, {size[0]}x{size[1]}/{size[0]}"


def _average_calls() -> list[Call]:
    timed = [large(_label(x, attrs["kernel_size"]), x, **attrs) for x, _, attrs in _LARGE_CASES]
    return [Call(inputs=(x,), attrs=attrs) for x, _, attrs in _AVERAGE_CASES] + timed


AVERAGE = register_op(
    Op(
        name="avg_pool2d",
        infer=_infer_average,
        grad=_grad_average,
        calls=_average_calls,
    )
)


def _infer_average_backward(grad: TensorType, *, input_shape: Shape, **attrs: Any) -> TensorType:
    x = grad.with_(shape=input_shape)
    wanted = _infer_average(x, **attrs)
    if grad.shape != wanted.shape:
        raise ShapeError(expected("avg_pool2d_backward", f"a gradient of shape {wanted.shape}", str(grad)))
    return x


def _grad_average_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    attrs = {name: value for name, value in node.attrs.items() if name != "input_shape"}
    return (apply(AVERAGE, grad, **attrs),)


def _average_backward_calls() -> list[Call]:
    timed = [large(_label(x, attrs["kernel_size"]), y, input_shape=x, **attrs) for x, y, attrs in _LARGE_CASES]
    return [Call(inputs=(y,), attrs={"input_shape": x, **attrs}) for x, y, attrs in _AVERAGE_CASES] + timed


AVERAGE_BACKWARD = register_op(
    Op(
        name="avg_pool2d_backward",
        infer=_infer_average_backward,
        grad=_grad_average_backward,
        calls=_average_backward_calls,
    )
)


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


def _infer_adaptive_average(x: TensorType, *, output_size: Pair) -> TensorType:
    return cell_type("adaptive_avg_pool2d", x, output_size)


def _grad_adaptive_average(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(ADAPTIVE_AVERAGE_BACKWARD, grad, input_shape=node.inputs[0].shape),)


ADAPTIVE_AVERAGE = register_op(
    Op(
        name="adaptive_avg_pool2d",
        infer=_infer_adaptive_average,
        grad=_grad_adaptive_average,
        calls=adaptive_calls,
    )
)


def _infer_adaptive_average_backward(grad: TensorType, *, input_shape: Shape) -> TensorType:
    expect_images("adaptive_avg_pool2d_backward", grad)
    return grad.with_(shape=input_shape)


def _grad_adaptive_average_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(ADAPTIVE_AVERAGE, grad, output_size=node.inputs[0].shape[2:]),)


ADAPTIVE_AVERAGE_BACKWARD = register_op(
    Op(
        name="adaptive_avg_pool2d_backward",
        infer=_infer_adaptive_average_backward,
        grad=_grad_adaptive_average_backward,
        calls=lambda: [
            Call(inputs=((2, 3, 1, 1),), attrs={"input_shape": (2, 3, 6, 5)}),
            Call(inputs=((1, 2, 3, 4),), attrs={"input_shape": (1, 2, 5, 7)}),
            large("16x64x32x32 to 1x1", (16, 64, 1, 1), input_shape=(16, 64, 32, 32)),
            large("16x64x32x32 to 4x4", (16, 64, 4, 4), input_shape=(16, 64, 32, 32)),
        ],
    )
)


def adaptive_avg_pool2d(x: Tensor, output_size: PairLike) -> Tensor:
    """The mean of each of `output_size` cells that cover x[N,C,H,W]: cell i spans [i·H // OH, ⌈(i + 1)·H / OH⌉)."""
    name, size = "adaptive_avg_pool2d", cell_counts("adaptive_avg_pool2d", x, output_size)
    y: Tensor = over_batch(name, lambda images: apply(ADAPTIVE_AVERAGE, images, output_size=size), x, "N,C,H,W")
    return y
