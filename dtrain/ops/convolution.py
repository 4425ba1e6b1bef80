"""2-D convolution (cross-correlation) and its two gradients, each differentiable through the other two.

Shapes: x[N,C,H,W], weight[O,C/G,KH,KW], y[N,O,OH,OW] with OH = (H + 2·padding − dilation·(KH − 1) − 1) // stride + 1;
G groups. The 1-D and the transposed convolution are the same ops with other shapes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, large
from dtrain.ops.batch_axis import over_batch
from dtrain.ops.infer import as_int, expect_ndim, floating, same_dtype
from dtrain.ops.joining import pad
from dtrain.ops.shape import reshape, squeeze, unsqueeze

Pair = tuple[int, int]
Sizes = tuple[int, ...]  # one number for each axis of the images
PairLike = int | tuple[int, ...] | list[int]
Gradients = tuple[Tensor | None, Tensor | None]
AsSizes = Callable[[str, str, Any, int], Sizes]


def as_pair(op: str, name: str, value: PairLike, minimum: int) -> Pair:
    """(value, value) of an int, or the two ints themselves; each at least `minimum`."""
    try:
        sizes = tuple(operator.index(size) for size in (value if isinstance(value, tuple | list) else (value, value)))
    except TypeError:
        sizes = ()
    if len(sizes) != 2 or min(sizes) < minimum:
        raise ShapeError(expected(op, f"{name} as an int or two ints of at least {minimum}", repr(value)))
    return sizes[0], sizes[1]


def as_one(op: str, name: str, value: Any, minimum: int) -> tuple[int]:
    """(value,) of an int, or of a sequence of one."""
    (size,) = value if isinstance(value, tuple | list) and len(value) == 1 else (value,)
    return (as_int(op, name, size, minimum),)


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _output_shape(
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
    return x.with_(shape=_output_shape("conv2d", x.shape, weight.shape, stride, padding, dilation, groups))


def _infer_backward_data(dy: TensorType, weight: TensorType, *, input_shape: Shape, **attrs: Any) -> TensorType:
    name = "conv2d_backward_data"
    _check(name, dy, weight)
    wanted = _output_shape(name, input_shape, weight.shape, **attrs)
    if dy.shape != wanted:
        raise ShapeError(expected(name, f"dy of shape {wanted} for input {input_shape}", str(dy)))
    return dy.with_(shape=input_shape)


def _infer_backward_weights(dy: TensorType, x: TensorType, *, weight_shape: Shape, **attrs: Any) -> TensorType:
    name = "conv2d_backward_weights"
    _check(name, dy, x)
    wanted = _output_shape(name, x.shape, weight_shape, **attrs)
    if dy.shape != wanted:
        raise ShapeError(expected(name, f"dy of shape {wanted} for weight {weight_shape}", str(dy)))
    return dy.with_(shape=weight_shape)


def _geometry(node: TapeNode) -> dict[str, Any]:
    return {name: node.attrs[name] for name in ("stride", "padding", "dilation", "groups")}


def _grad(node: TapeNode, grad: Tensor) -> Gradients:
    x, weight = node.inputs
    return (
        apply(BACKWARD_DATA, grad, weight, input_shape=x.shape, **node.attrs) if node.needs_grad[0] else None,
        apply(BACKWARD_WEIGHTS, grad, x, weight_shape=weight.shape, **node.attrs) if node.needs_grad[1] else None,
    )


def _grad_backward_data(node: TapeNode, grad: Tensor) -> Gradients:
    dy, weight = node.inputs
    attrs = _geometry(node)
    return (
        apply(CONV2D, grad, weight, **attrs) if node.needs_grad[0] else None,
        apply(BACKWARD_WEIGHTS, dy, grad, weight_shape=weight.shape, **attrs) if node.needs_grad[1] else None,
    )


def _grad_backward_weights(node: TapeNode, grad: Tensor) -> Gradients:
    dy, x = node.inputs
    attrs = _geometry(node)
    return (
        apply(CONV2D, x, grad, **attrs) if node.needs_grad[0] else None,
        apply(BACKWARD_DATA, dy, grad, input_shape=x.shape, **attrs) if node.needs_grad[1] else None,
    )


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
            inputs, given = inputs_of(x, _output_shape("conv2d", x, weight, **attrs), weight, attrs)
            found.append(Call(inputs=inputs, attrs=given))
        for x, weight, stride, groups in _LAYERS:
            kernel = weight[2]
            attrs = _attrs((stride, stride), (kernel // 2, kernel // 2), groups=groups)
            y = _output_shape("conv2d", x, weight, **attrs)
            inputs, given = inputs_of(x, y, weight, attrs)
            label = f"{'x'.join(map(str, x))} to {weight[0]}, {kernel}x{kernel}/{stride}"
            label += f", {groups} groups" if groups > 1 else ""
            found.append(large(label, *inputs, flops=2 * prod(y) * prod(weight[1:]), **given))
        return found

    return calls


CONV2D = register_op(Op(name="conv2d", infer=_infer, grad=_grad, promotes=True, calls=_calls(_forward)))
BACKWARD_DATA = register_op(
    Op(
        name="conv2d_backward_data",
        infer=_infer_backward_data,
        grad=_grad_backward_data,
        promotes=True,
        calls=_calls(_data),
    )
)
BACKWARD_WEIGHTS = register_op(
    Op(
        name="conv2d_backward_weights",
        infer=_infer_backward_weights,
        grad=_grad_backward_weights,
        calls=_calls(_weights),
    )
)


def _with_bias(op: str, y: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return y
    if bias.shape != (y.shape[1],):
        raise ShapeError(expected(op, f"a bias of shape ({y.shape[1]},)", str(bias.type)))
    return y + reshape(bias, (1, y.shape[1], 1, 1))


def _padded(
    op: str, x: Tensor, weight: Tensor, stride: Sizes, padding: Any, dilation: Sizes, as_sizes: AsSizes
) -> tuple[Tensor, Sizes]:
    """x, and the padding as numbers. "same" with an odd total has no symmetric form: the extra goes behind."""
    if not isinstance(padding, str):
        return x, as_sizes(op, "padding", padding, 0)
    if padding not in ("same", "valid"):
        raise ShapeError(expected(op, "padding as ints, 'same' or 'valid'", repr(padding)))
    if padding == "valid":
        return x, (0,) * len(stride)
    if max(stride) > 1:
        raise ShapeError(expected(op, "stride 1 with padding='same'", f"stride {stride}", "give padding as ints"))
    total = [spread * (size - 1) for spread, size in zip(dilation, weight.shape[2:])]
    if any(size % 2 for size in total):
        x = pad(x, [extra for size in reversed(total) for extra in (0, size % 2)])
    return x, tuple(size // 2 for size in total)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PairLike = 1,
    padding: PairLike | str = 0,
    dilation: PairLike = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate images with kernels: y[n,o,h,w] = bias[o] + Σ_{c,i,j} weight[o,c,i,j] · x[n, c, h·s+i·d−p, …].

    Args:
        x: [N, C, H, W], or [C, H, W].
        weight: [O, C / groups, KH, KW].
        bias: [O], or None.
        stride, dilation: an int or (rows, columns), at least 1.
        padding: zeros around x, an int or (rows, columns); "valid" for none, "same" to keep the size at stride 1.
        groups: O and C are split into that many groups, which do not see each other.
    """
    name = "conv2d"
    strides, dilations = as_pair(name, "stride", stride, 1), as_pair(name, "dilation", dilation, 1)
    groups = as_int(name, "groups", groups, 1)
    expect_ndim(name, weight.type, 4)

    def convolved(images: Tensor) -> Tensor:
        images, around = _padded(name, images, weight, strides, padding, dilations, as_pair)
        y = apply(CONV2D, images, weight, stride=strides, padding=around, dilation=dilations, groups=groups)
        return _with_bias(name, y, bias)

    y: Tensor = over_batch(name, convolved, x, "N,C,H,W")
    return y


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate x[N,C,L] or [C,L] with weight[O, C/groups, K]; the arguments are those of `conv2d`."""
    name = "conv1d"
    (step,), (spread,) = as_one(name, "stride", stride, 1), as_one(name, "dilation", dilation, 1)
    groups = as_int(name, "groups", groups, 1)
    expect_ndim(name, weight.type, 3)

    def convolved(rows: Tensor) -> Tensor:
        rows, around = _padded(name, rows, weight, (step,), padding, (spread,), as_one)
        _output_shape(name, rows.shape, weight.shape, (step,), around, (spread,), groups)
        attrs = {"stride": (1, step), "padding": (0, *around), "dilation": (1, spread), "groups": groups}
        y = apply(CONV2D, unsqueeze(rows, 2), unsqueeze(weight, 2), **attrs)
        return squeeze(_with_bias(name, y, bias), 2)

    y: Tensor = over_batch(name, convolved, x, "N,C,L")
    return y


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PairLike = 1,
    padding: PairLike = 0,
    output_padding: PairLike = 0,
    groups: int = 1,
    dilation: PairLike = 1,
) -> Tensor:
    """The transposed convolution: the gradient of `conv2d` with respect to its input, used forward.

    OH = (H − 1)·stride − 2·padding + dilation·(KH − 1) + output_padding + 1.

    Args:
        x: [N, C, H, W], or [C, H, W].
        weight: [C, O / groups, KH, KW].
        output_padding: rows and columns added below and to the right, less than stride or dilation.
    """
    name = "conv_transpose2d"
    expect_ndim(name, weight.type, 4)
    strides, dilations = as_pair(name, "stride", stride, 1), as_pair(name, "dilation", dilation, 1)
    around, extra = as_pair(name, "padding", padding, 0), as_pair(name, "output_padding", output_padding, 0)
    if any(extra[i] >= max(strides[i], dilations[i]) for i in (0, 1)):
        raise ShapeError(expected(name, "output_padding less than stride or dilation", f"{output_padding}"))
    groups = as_int(name, "groups", groups, 1)
    attrs: dict[str, Any] = {"stride": strides, "padding": around, "dilation": dilations, "groups": groups}

    def convolved(images: Tensor) -> Tensor:
        sizes = tuple(
            (images.shape[2 + i] - 1) * strides[i]
            - 2 * around[i]
            + dilations[i] * (weight.shape[2 + i] - 1)
            + extra[i]
            + 1
            for i in (0, 1)
        )
        input_shape = (images.shape[0], weight.shape[1] * groups, *sizes)
        y = apply(BACKWARD_DATA, images, weight, input_shape=input_shape, **attrs)
        return _with_bias(name, y, bias)

    y: Tensor = over_batch(name, convolved, x, "N,C,H,W")
    return y
