"""Max, average and adaptive pooling of x[N,C,H,W], and their gradients.

Max pooling also gives `indices` (s32): where the maximum lies in its input plane, as h·W + w. The first of equal
maxima wins, a NaN wins over every number, and padding never wins (so padding is at most half a kernel).
"""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.kernels.reference.add_at import add_at
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.registry import Array, array_module, reference

Pair = tuple[int, int]
Shape4 = tuple[int, int, int, int]
Bounds = tuple[slice, slice]


def adaptive_bounds(input_size: int, output_size: int) -> list[tuple[int, int]]:
    """The [start, end) input interval of each output position; neighbours overlap where sizes do not divide."""
    return [(i * input_size // output_size, -(-(i + 1) * input_size // output_size)) for i in range(output_size)]


def window_bounds(input_size: int, output_size: int, kernel: int, stride: int, padding: int) -> list[tuple[int, int]]:
    """The [start, end) input interval of each output position, clipped to the input."""
    starts = [i * stride - padding for i in range(output_size)]
    return [(max(start, 0), min(start + kernel, input_size)) for start in starts]


def _cells(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Iterator[tuple[int, int, Bounds]]:
    for h, (top, bottom) in enumerate(rows):
        for w, (left, right) in enumerate(columns):
            yield h, w, (slice(top, bottom), slice(left, right))


def _max_over_cells(
    x: Array, y: Array, indices: Array, rows: list[tuple[int, int]], cols: list[tuple[int, int]]
) -> None:
    xp = array_module(x)
    batch, channels, _, width = x.shape
    wide = widen(x)
    for h, w, (cell_rows, cell_cols) in _cells(rows, cols):
        cell_width = cell_cols.stop - cell_cols.start
        cell = wide[:, :, cell_rows, cell_cols].reshape(
            batch, channels, (cell_rows.stop - cell_rows.start) * cell_width
        )
        # argmax takes the first of equal maxima, and the first NaN over all numbers.
        best = xp.argmax(cell, axis=2)
        y[:, :, h, w] = xp.take_along_axis(cell, best[:, :, None], axis=2)[:, :, 0].astype(y.dtype)
        indices[:, :, h, w] = (cell_rows.start + best // cell_width) * width + cell_cols.start + best % cell_width


@reference("max_pool2d")
def max_pool2d(x: Array, out: tuple[Array, Array], *, kernel_size: Pair, stride: Pair, padding: Pair) -> None:
    """The maximum of each window, and where it lies."""
    y, indices = out
    rows = window_bounds(x.shape[2], y.shape[2], kernel_size[0], stride[0], padding[0])
    columns = window_bounds(x.shape[3], y.shape[3], kernel_size[1], stride[1], padding[1])
    _max_over_cells(x, y, indices, rows, columns)


@reference("adaptive_max_pool2d")
def adaptive_max_pool2d(x: Array, out: tuple[Array, Array], *, output_size: Pair) -> None:
    """The maximum of each adaptive cell, and where it lies; its gradient is `max_pool2d_backward`."""
    y, indices = out
    rows, columns = adaptive_bounds(x.shape[2], output_size[0]), adaptive_bounds(x.shape[3], output_size[1])
    _max_over_cells(x, y, indices, rows, columns)


@reference("max_pool2d_backward")
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


def _window_divisor(bounds: tuple[slice, slice], kernel_size: Pair, count_include_pad: bool) -> int:
    if count_include_pad:
        return kernel_size[0] * kernel_size[1]
    rows, columns = bounds
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


@reference("average_pool2d")
def average_pool2d(
    x: Array, out: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool
) -> None:
    """The sum of each window over the kernel's size, or over the inputs in it if padding does not count."""
    wide = widen(x)
    rows = window_bounds(x.shape[2], out.shape[2], kernel_size[0], stride[0], padding[0])
    columns = window_bounds(x.shape[3], out.shape[3], kernel_size[1], stride[1], padding[1])
    for h, w, bounds in _cells(rows, columns):
        divisor = _window_divisor(bounds, kernel_size, count_include_pad)
        store(out[:, :, h, w], wide[:, :, bounds[0], bounds[1]].sum(axis=(2, 3)) / divisor)


@reference("average_pool2d_backward")
def average_pool2d_backward(
    dy: Array,
    out: Array,
    *,
    input_shape: Shape4,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
) -> None:
    """dx: every dy is shared evenly by the inputs of its window."""
    xp = array_module(dy)
    grad = widen(dy)
    total = xp.zeros(input_shape, dtype=grad.dtype)
    rows = window_bounds(input_shape[2], dy.shape[2], kernel_size[0], stride[0], padding[0])
    columns = window_bounds(input_shape[3], dy.shape[3], kernel_size[1], stride[1], padding[1])
    for h, w, bounds in _cells(rows, columns):
        divisor = _window_divisor(bounds, kernel_size, count_include_pad)
        total[:, :, bounds[0], bounds[1]] += (grad[:, :, h, w] / divisor)[:, :, None, None]
    store(out, total)


@reference("adaptive_average_pool2d")
def adaptive_average_pool2d(x: Array, out: Array, *, output_size: Pair) -> None:
    """The mean of each adaptive cell."""
    wide = widen(x)
    rows, columns = adaptive_bounds(x.shape[2], output_size[0]), adaptive_bounds(x.shape[3], output_size[1])
    for h, w, bounds in _cells(rows, columns):
        store(out[:, :, h, w], wide[:, :, bounds[0], bounds[1]].mean(axis=(2, 3)))


@reference("adaptive_average_pool2d_backward")
def adaptive_average_pool2d_backward(dy: Array, out: Array, *, input_shape: Shape4) -> None:
    """dx: every dy is shared evenly by the inputs of its cell."""
    xp = array_module(dy)
    grad = widen(dy)
    total = xp.zeros(input_shape, dtype=grad.dtype)
    rows, columns = adaptive_bounds(input_shape[2], dy.shape[2]), adaptive_bounds(input_shape[3], dy.shape[3])
    for h, w, (cell_rows, cell_cols) in _cells(rows, columns):
        area = (cell_rows.stop - cell_rows.start) * (cell_cols.stop - cell_cols.start)
        total[:, :, cell_rows, cell_cols] += (grad[:, :, h, w] / area)[:, :, None, None]
    store(out, total)
