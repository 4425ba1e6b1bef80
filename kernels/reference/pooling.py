"""Max, average and adaptive pooling of x[N,C,H,W], and their gradients.

Max pooling also gives `indices` (s32): where the maximum lies in its input plane, as h·W + w. The first of equal
maxima wins, a NaN wins over every number, and padding never wins (so padding is at most half a kernel).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.add_at import add_at
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.registry import reference

Pair = tuple[int, int]
Shape4 = tuple[int, int, int, int]
# For each output position along one axis, the input positions that it sees.
Places = list[range]


def adaptive_places(input_size: int, output_size: int) -> Places:
    """Neighbours overlap where sizes do not divide."""
    return [range(i * input_size // output_size, -(-(i + 1) * input_size // output_size)) for i in range(output_size)]


def window_places(
    input_size: int, output_size: int, kernel: int, stride: int, padding: int, dilation: int = 1
) -> Places:
    """Those of windows that lie in the input; padding is left out."""
    places = []
    for start in range(-padding, output_size * stride - padding, stride):
        first = start if start >= 0 else start + -(start // dilation) * dilation
        places.append(range(first, min(start + kernel * dilation, input_size), dilation))
    return places


def _slice(places: range) -> slice:
    return slice(places.start, places.stop, places.step)


def _cells(rows: Places, columns: Places) -> Iterator[tuple[int, int, range, range]]:
    for h, cell_rows in enumerate(rows):
        for w, cell_columns in enumerate(columns):
            yield h, w, cell_rows, cell_columns


def _max_over_cells(x: Array, y: Array, indices: Array, rows: Places, columns: Places) -> None:
    xp = array_module(x)
    batch, channels, _, width = x.shape
    wide = widen(x)
    for h, w, tall, across in _cells(rows, columns):
        cell = wide[:, :, _slice(tall), _slice(across)].reshape(batch, channels, len(tall) * len(across))
        # argmax takes the first of equal maxima, and the first NaN over all numbers.
        best = xp.argmax(cell, axis=2)
        y[:, :, h, w] = xp.take_along_axis(cell, best[:, :, None], axis=2)[:, :, 0].astype(y.dtype)
        row = tall.start + best // len(across) * tall.step
        indices[:, :, h, w] = row * width + across.start + best % len(across) * across.step


@reference("max_pool2d")
def max_pool2d(
    x: Array,
    out: tuple[Array, Array],
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> None:
    """The maximum of each window, and where it lies."""
    y, indices = out
    rows, columns = (
        window_places(x.shape[2 + i], y.shape[2 + i], kernel_size[i], stride[i], padding[i], dilation[i])
        for i in (0, 1)
    )
    _max_over_cells(x, y, indices, rows, columns)


@reference("adaptive_max_pool2d")
def adaptive_max_pool2d(x: Array, out: tuple[Array, Array], *, output_size: Pair) -> None:
    """The maximum of each adaptive cell, and where it lies; its gradient is `max_pool2d_backward`."""
    y, indices = out
    rows, columns = adaptive_places(x.shape[2], output_size[0]), adaptive_places(x.shape[3], output_size[1])
    _max_over_cells(x, y, indices, rows, columns)


@reference("max_pool2d_backward", inputs="T P")
def max_pool2d_backward(dy: Array, indices: Array, out: Array, *, input_shape: Shape4) -> None:
    """dx: every dy is added where its maximum came from."""
    xp = array_module(dy)
    batch, channels, height, width = input_shape
    planes = batch * channels
    outputs = dy.shape[2] * dy.shape[3]
    total = xp.zeros((planes, height * width), dtype=accumulation_dtype(dy.dtype))
    plane_of = xp.broadcast_to(xp.arange(planes)[:, None], (planes, outputs))
    add_at(total, (plane_of, indices.reshape(planes, outputs)), widen(dy).reshape(planes, outputs))
    store(out, total.reshape(input_shape))


class _Windows:
    """The windows of an average over planes of a size, and what each of their sums is divided by."""

    def __init__(
        self,
        size: tuple[int, ...],
        output_size: tuple[int, ...],
        kernel_size: Pair,
        stride: Pair,
        padding: Pair,
        count_include_pad: bool,
        divisor: int | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.places = [window_places(size[i], output_size[i], kernel_size[i], stride[i], padding[i]) for i in (0, 1)]
        # A window that ceil_mode lets stick out counts no further than the padding.
        self.lengths = [
            [min(kernel_size[i], size[i] + 2 * padding[i] - j * stride[i]) for j in range(output_size[i])]
            for i in (0, 1)
        ]
        self.count_include_pad, self.divisor = count_include_pad, divisor

    def cells(self) -> Iterator[tuple[int, int, slice, slice, int]]:
        """(h, w, rows, columns, divisor) of each output."""
        for h, w, rows, columns in _cells(*self.places):
            seen = self.lengths[0][h] * self.lengths[1][w] if self.count_include_pad else len(rows) * len(columns)
            yield h, w, _slice(rows), _slice(columns), self.divisor or seen


@reference("avg_pool2d")
def avg_pool2d(x: Array, out: Array, **window: Any) -> None:
    """The sum of each window over the kernel's size, over the inputs in it if padding does not count, or `divisor`."""
    wide = widen(x)
    for h, w, rows, columns, divisor in _Windows(x.shape[2:], out.shape[2:], **window).cells():
        store(out[:, :, h, w], wide[:, :, rows, columns].sum(axis=(2, 3)) / divisor)


@reference("avg_pool2d_backward")
def avg_pool2d_backward(dy: Array, out: Array, *, input_shape: Shape4, **window: Any) -> None:
    """dx: every dy is shared evenly by the inputs of its window."""
    grad = widen(dy)
    total = array_module(dy).zeros(input_shape, dtype=grad.dtype)
    for h, w, rows, columns, divisor in _Windows(input_shape[2:], dy.shape[2:], **window).cells():
        total[:, :, rows, columns] += (grad[:, :, h, w] / divisor)[:, :, None, None]
    store(out, total)


@reference("adaptive_avg_pool2d")
def adaptive_avg_pool2d(x: Array, out: Array, *, output_size: Pair) -> None:
    """The mean of each adaptive cell."""
    wide = widen(x)
    rows, columns = adaptive_places(x.shape[2], output_size[0]), adaptive_places(x.shape[3], output_size[1])
    for h, w, tall, across in _cells(rows, columns):
        store(out[:, :, h, w], wide[:, :, _slice(tall), _slice(across)].mean(axis=(2, 3)))


@reference("adaptive_avg_pool2d_backward")
def adaptive_avg_pool2d_backward(dy: Array, out: Array, *, input_shape: Shape4) -> None:
    """dx: every dy is shared evenly by the inputs of its cell."""
    grad = widen(dy)
    total = array_module(dy).zeros(input_shape, dtype=grad.dtype)
    rows, columns = adaptive_places(input_shape[2], dy.shape[2]), adaptive_places(input_shape[3], dy.shape[3])
    for h, w, tall, across in _cells(rows, columns):
        area = len(tall) * len(across)
        total[:, :, _slice(tall), _slice(across)] += (grad[:, :, h, w] / area)[:, :, None, None]
    store(out, total)
