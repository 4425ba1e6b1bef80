"""Facts of the ops behind `ops/average_pool.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.opset.convolution import Pair
from dtrain.opset.pool_windows import adaptive_calls, cell_type, expect_images, window_type


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
        calls=_average_calls,
    )
)


def _infer_average_backward(grad: TensorType, *, input_shape: Shape, **attrs: Any) -> TensorType:
    x = grad.with_(shape=input_shape)
    wanted = _infer_average(x, **attrs)
    if grad.shape != wanted.shape:
        raise ShapeError(expected("avg_pool2d_backward", f"a gradient of shape {wanted.shape}", str(grad)))
    return x


def _average_backward_calls() -> list[Call]:
    timed = [large(_label(x, attrs["kernel_size"]), y, input_shape=x, **attrs) for x, y, attrs in _LARGE_CASES]
    return [Call(inputs=(y,), attrs={"input_shape": x, **attrs}) for x, y, attrs in _AVERAGE_CASES] + timed


AVERAGE_BACKWARD = register_op(
    Op(
        name="avg_pool2d_backward",
        infer=_infer_average_backward,
        calls=_average_backward_calls,
    )
)


def _infer_adaptive_average(x: TensorType, *, output_size: Pair) -> TensorType:
    return cell_type("adaptive_avg_pool2d", x, output_size)


ADAPTIVE_AVERAGE = register_op(
    Op(
        name="adaptive_avg_pool2d",
        infer=_infer_adaptive_average,
        calls=adaptive_calls,
    )
)


def _infer_adaptive_average_backward(grad: TensorType, *, input_shape: Shape) -> TensorType:
    expect_images("adaptive_avg_pool2d_backward", grad)
    return grad.with_(shape=input_shape)


ADAPTIVE_AVERAGE_BACKWARD = register_op(
    Op(
        name="adaptive_avg_pool2d_backward",
        infer=_infer_adaptive_average_backward,
        calls=lambda: [
            Call(inputs=((2, 3, 1, 1),), attrs={"input_shape": (2, 3, 6, 5)}),
            Call(inputs=((1, 2, 3, 4),), attrs={"input_shape": (1, 2, 5, 7)}),
            large("16x64x32x32 to 1x1", (16, 64, 1, 1), input_shape=(16, 64, 32, 32)),
            large("16x64x32x32 to 4x4", (16, 64, 4, 4), input_shape=(16, 64, 32, 32)),
        ],
    )
)
