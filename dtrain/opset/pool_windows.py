"""Types and calls of ops on windows of images, which maxima and averages share."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.kernels.call import Call, large
from dtrain.opset.convolution import Pair, Sizes
from dtrain.opset.infer import expect_ndim, floating


def expect_images(op: str, x: TensorType) -> None:
    floating(op, x)
    expect_ndim(op, x, 4)


def _expect_channels(op: str, x: TensorType, axis: int) -> None:
    if not x.shape[axis]:
        raise ShapeError(expected(op, "at least one channel", str(x)))


def window_type(
    op: str,
    x: TensorType,
    kernel_size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes = (1, 1),
    ceil_mode: bool = False,
) -> TensorType:
    """The type of the output: a window at each position of the last axes, as many as there are in `kernel_size`."""
    floating(op, x)
    first = x.ndim - len(kernel_size)
    _expect_channels(op, x, first - 1)
    sizes = []
    for size, kernel, step, around, spread in zip(x.shape[first:], kernel_size, stride, padding, dilation):
        if 2 * around > kernel:
            given = f"padding {_plain(padding)} for kernel {_plain(kernel_size)}"
            raise ShapeError(expected(op, "padding of at most half the kernel", given))
        reach, padded = spread * (kernel - 1) + 1, size + 2 * around
        count = (padded - reach + (step - 1 if ceil_mode else 0)) // step + 1
        # The last window begins in the input, not behind it.
        count -= (count - 1) * step >= size + around
        if count < 1:
            given = f"kernel {_plain(kernel_size)} on {x} padded by {_plain(padding)}"
            given += f" and dilated by {_plain(dilation)}" if spread > 1 else ""
            raise ShapeError(expected(op, "a kernel no larger than the padded input", given))
        _expect_inputs(op, x, size, kernel, step, around, spread, count)
        sizes.append(count)
    return x.with_(shape=(*x.shape[:first], *sizes))


def _plain(sizes: Sizes) -> Any:
    return sizes[0] if len(sizes) == 1 else sizes


def _expect_inputs(
    op: str, x: TensorType, size: int, kernel: int, step: int, around: int, spread: int, count: int
) -> None:
    """A dilated window may step over a whole image; only the outermost ones can."""
    for start in {-around, (count - 1) * step - around} if spread > 1 else ():
        if not any(0 <= start + i * spread < size for i in range(kernel)):
            raise ShapeError(expected(op, "windows that see an element of x", f"dilation {spread} on {x}", "pad less"))


def cell_type(op: str, x: TensorType, output_size: Pair) -> TensorType:
    expect_images(op, x)
    _expect_channels(op, x, 1)
    if min(x.shape[2:]) < 1:
        raise ShapeError(expected(op, "images of at least one pixel", str(x)))
    return x.with_(shape=(*x.shape[:2], *output_size))


def adaptive_calls() -> list[Call]:
    """One cell over all, and cells that overlap."""
    return [
        Call(inputs=((2, 3, 6, 5),), attrs={"output_size": (1, 1)}),
        Call(inputs=((1, 2, 5, 7),), attrs={"output_size": (3, 4)}),
        large("16x64x32x32 to 1x1", (16, 64, 32, 32), output_size=(1, 1)),
        large("16x64x32x32 to 4x4", (16, 64, 32, 32), output_size=(4, 4)),
    ]
