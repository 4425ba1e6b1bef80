"""Facts of the ops behind `ops/convolution.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.opset.infer import expect_ndim, floating, same_dtype

Pair = tuple[int, int]

Sizes = tuple[int, ...]  # one number for each axis of the images


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_shape(
    op: str, x: Shape, weight: Shape, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Shape:
    """The shape of y, with an axis for each number of the stride.

    Raises ShapeError where x and the weights do not fit, or the kernel is larger than the input.
    """
    channels, outputs = x[1], weight[0]
    if groups < 1 or channels % groups or outputs % groups:
        given = f"{channels} in and {outputs} out with groups={groups}"
        raise ShapeError(expected(op, "groups that divide the channels in and out", given))
    if weight[1] != channels // groups:
        kernel = "K" if len(stride) == 1 else "KH,KW"
        wanted = f"weight[O,{channels // groups},{kernel}] for input {x} with groups={groups}"
        raise ShapeError(expected(op, wanted, f"weight {weight}", "axis 1 of the weight is in_channels / groups"))
    sizes = [_output_size(x[2 + i], weight[2 + i], stride[i], padding[i], dilation[i]) for i in range(len(stride))]
    if min(sizes) < 1 or min(weight[2:]) < 1:
        given = f"kernel {weight[2:]} dilated by {dilation} on input {x[2:]} padded by {padding}"
        raise ShapeError(expected(op, "a kernel no larger than the padded input", given))
    return (x[0], outputs, *sizes)


def _check(op: str, first: TensorType, second: TensorType) -> None:
    floating(op, first)
    same_dtype(op, first, second)
    expect_ndim(op, first, 4)
    expect_ndim(op, second, 4)


def _infer(
    x: TensorType, weight: TensorType, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> TensorType:
    _check("conv2d", x, weight)
    return x.with_(shape=output_shape("conv2d", x.shape, weight.shape, stride, padding, dilation, groups))


def _infer_backward_data(dy: TensorType, weight: TensorType, *, input_shape: Shape, **attrs: Any) -> TensorType:
    name = "conv2d_backward_data"
    _check(name, dy, weight)
    wanted = output_shape(name, input_shape, weight.shape, **attrs)
    if dy.shape != wanted:
        raise ShapeError(expected(name, f"dy of shape {wanted} for input {input_shape}", str(dy)))
    return dy.with_(shape=input_shape)


def _infer_backward_weights(dy: TensorType, x: TensorType, *, weight_shape: Shape, **attrs: Any) -> TensorType:
    name = "conv2d_backward_weights"
    _check(name, dy, x)
    wanted = output_shape(name, x.shape, weight_shape, **attrs)
    if dy.shape != wanted:
        raise ShapeError(expected(name, f"dy of shape {wanted} for weight {weight_shape}", str(dy)))
    return dy.with_(shape=weight_shape)


def _attrs(stride: Pair, padding: Pair, dilation: Pair = (1, 1), groups: int = 1) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


# x, weight, attributes of every case that the three ops are tested with.
_CASES: tuple[tuple[Shape, Shape, dict[str, Any]], ...] = (
    ((2, 3, 5, 6), (4, 3, 3, 3), _attrs((1, 1), (1, 1))),
    ((1, 4, 7, 6), (6, 2, 3, 2), _attrs((2, 1), (0, 1), (1, 2), 2)),
    ((2, 3, 6, 5), (3, 1, 3, 3), _attrs((2, 2), (1, 1), (1, 1), 3)),
    ((1, 2, 4, 4), (3, 2, 1, 1), _attrs((1, 1), (0, 0))),
    ((0, 2, 4, 4), (3, 2, 3, 3), _attrs((1, 1), (1, 1))),
)


# x, weight, stride and groups of layers that benchmarks time: of a ResNet-18, its pointwise ones, and depthwise ones.
_LAYERS: tuple[tuple[Shape, Shape, int, int], ...] = (
    ((16, 64, 16, 16), (64, 64, 3, 3), 1, 1),
    ((16, 128, 8, 8), (128, 128, 3, 3), 1, 1),
    ((16, 128, 8, 8), (256, 128, 3, 3), 2, 1),
    ((16, 512, 2, 2), (512, 512, 3, 3), 1, 1),
    ((16, 64, 16, 16), (128, 64, 1, 1), 1, 1),
    ((16, 96, 32, 32), (96, 1, 3, 3), 1, 96),
    ((16, 96, 32, 32), (96, 1, 3, 3), 2, 96),
)

Inputs = tuple[tuple[Shape, Shape], dict[str, Any]]


def _forward(x: Shape, y: Shape, weight: Shape, attrs: dict[str, Any]) -> Inputs:
    return (x, weight), attrs


def _data(x: Shape, y: Shape, weight: Shape, attrs: dict[str, Any]) -> Inputs:
    return (y, weight), {"input_shape": x, **attrs}


def _weights(x: Shape, y: Shape, weight: Shape, attrs: dict[str, Any]) -> Inputs:
    return (y, x), {"weight_shape": weight, **attrs}


def _calls(inputs_of: Callable[..., Inputs]) -> Callable[[], list[Call]]:
    """The calls of one of the three ops, which takes these of the input, the output, the weight and the attributes."""

    def calls() -> list[Call]:
        found = []
        for x, weight, attrs in _CASES:
            inputs, given = inputs_of(x, output_shape("conv2d", x, weight, **attrs), weight, attrs)
            found.append(Call(inputs=inputs, attrs=given))
        for x, weight, stride, groups in _LAYERS:
            kernel = weight[2]
            attrs = _attrs((stride, stride), (kernel // 2, kernel // 2), groups=groups)
            y = output_shape("conv2d", x, weight, **attrs)
            inputs, given = inputs_of(x, y, weight, attrs)
            label = f"{'x'.join(map(str, x))} to {weight[0]}, {kernel}x{kernel}/{stride}"
            label += f", {groups} groups" if groups > 1 else ""
            found.append(large(label, *inputs, flops=2 * prod(y) * prod(weight[1:]), **given))
        return found

    return calls


CONV2D = register_op(Op(name="conv2d", infer=_infer, promotes=True, calls=_calls(_forward)))

BACKWARD_DATA = register_op(
    Op(
        name="conv2d_backward_data",
        infer=_infer_backward_data,
        promotes=True,
        calls=_calls(_data),
    )
)

BACKWARD_WEIGHTS = register_op(
    Op(
        name="conv2d_backward_weights",
        infer=_infer_backward_weights,
        calls=_calls(_weights),
    )
)
