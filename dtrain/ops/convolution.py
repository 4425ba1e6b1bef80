"""2-D convolution (cross-correlation) and its two gradients, each differentiable through the other two.

Shapes: x[N,C,H,W], weight[O,C/G,KH,KW], y[N,O,OH,OW] with OH = (H + 2·padding − dilation·(KH − 1) − 1) // stride + 1;
G groups. The 1-D and the transposed convolution are the same ops with other shapes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import gradient_of
from dtrain.ops.batch_axis import over_batch
from dtrain.ops.joining import pad
from dtrain.ops.shape import reshape, squeeze, unsqueeze
from dtrain.opset.convolution import BACKWARD_DATA, BACKWARD_WEIGHTS, CONV2D, Pair, Sizes, output_shape
from dtrain.opset.infer import as_int, expect_ndim

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


def _geometry(node: TapeNode) -> dict[str, Any]:
    return {name: node.attrs[name] for name in ("stride", "padding", "dilation", "groups")}


@gradient_of(CONV2D)
def _grad(node: TapeNode, grad: Tensor) -> Gradients:
    x, weight = node.inputs
    return (
        apply(BACKWARD_DATA, grad, weight, input_shape=x.shape, **node.attrs) if node.needs_grad[0] else None,
        apply(BACKWARD_WEIGHTS, grad, x, weight_shape=weight.shape, **node.attrs) if node.needs_grad[1] else None,
    )


@gradient_of(BACKWARD_DATA)
def _grad_backward_data(node: TapeNode, grad: Tensor) -> Gradients:
    dy, weight = node.inputs
    attrs = _geometry(node)
    return (
        apply(CONV2D, grad, weight, **attrs) if node.needs_grad[0] else None,
        apply(BACKWARD_WEIGHTS, dy, grad, weight_shape=weight.shape, **attrs) if node.needs_grad[1] else None,
    )


@gradient_of(BACKWARD_WEIGHTS)
def _grad_backward_weights(node: TapeNode, grad: Tensor) -> Gradients:
    dy, x = node.inputs
    attrs = _geometry(node)
    return (
        apply(CONV2D, x, grad, **attrs) if node.needs_grad[0] else None,
        apply(BACKWARD_DATA, dy, grad, input_shape=x.shape, **attrs) if node.needs_grad[1] else None,
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
        output_shape(name, rows.shape, weight.shape, (step,), around, (spread,), groups)
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
        if min(sizes) < 0:
            given = f"a result of {sizes} for input {tuple(images.shape[2:])} and padding {around}"
            raise ShapeError(expected(name, "a padding that leaves something of the result", given))
        input_shape = (images.shape[0], weight.shape[1] * groups, *sizes)
        y = apply(BACKWARD_DATA, images, weight, input_shape=input_shape, **attrs)
        return _with_bias(name, y, bias)

    y: Tensor = over_batch(name, convolved, x, "N,C,H,W")
    return y
