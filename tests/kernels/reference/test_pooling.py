"""The pooling references against loops over single numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers.tolerance import assert_close

from dtrain.kernels.reference import pooling

# (N, C, H, W), kernel, stride, padding
WINDOWS = (
    ((2, 2, 5, 6), (2, 3), (2, 1), (1, 1)),
    ((1, 1, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 3, 3), (3, 3), (1, 1), (1, 1)),
)
ADAPTIVE = (((2, 2, 5, 7), (2, 3)), ((1, 1, 3, 3), (1, 1)), ((1, 2, 2, 3), (3, 4)))


def window_cells(shape, kernel, stride, padding):
    """{(y, x): [(row, column) of the inputs in its window]}"""
    size = [(length + 2 * p - k) // s + 1 for length, p, k, s in zip(shape[2:], padding, kernel, stride)]
    cells = {}
    for y, x in product(range(size[0]), range(size[1])):
        rows = [y * stride[0] - padding[0] + i for i in range(kernel[0])]
        columns = [x * stride[1] - padding[1] + j for j in range(kernel[1])]
        cells[y, x] = [(r, c) for r in rows for c in columns if 0 <= r < shape[2] and 0 <= c < shape[3]]
    return size, cells


def adaptive_cells(shape, size):
    cells = {}
    for y, x in product(range(size[0]), range(size[1])):
        # Input i belongs to output o where the intervals [i, i+1)·out and [o, o+1)·in overlap.
        rows = [r for r in range(shape[2]) if r * size[0] < (y + 1) * shape[2] and (r + 1) * size[0] > y * shape[2]]
        columns = [c for c in range(shape[3]) if c * size[1] < (x + 1) * shape[3] and (c + 1) * size[1] > x * shape[3]]
        cells[y, x] = [(r, c) for r in rows for c in columns]
    return list(size), cells


def problems():
    for shape, kernel, stride, padding in WINDOWS:
        window = {"kernel_size": kernel, "stride": stride, "padding": padding}
        yield "window", shape, window, *window_cells(shape, kernel, stride, padding)
    for shape, size in ADAPTIVE:
        yield "adaptive", shape, {"output_size": size}, *adaptive_cells(shape, size)


PROBLEMS = list(problems())


@pytest.mark.parametrize("kind, shape, attrs, size, cells", PROBLEMS)
def test_max(kind, shape, attrs, size, cells) -> None:
    x = np.round(np.random.default_rng(0).standard_normal(shape) * 2)  # many ties
    x[0, 0, 1, 1] = np.nan
    y, indices = np.empty((*shape[:2], *size)), np.empty((*shape[:2], *size), np.int32)
    forward = pooling.max_pool2d if kind == "window" else pooling.adaptive_max_pool2d
    forward(x, (y, indices), **attrs)
    for n, c in np.ndindex(*shape[:2]):
        for at, cell in cells.items():
            values = [x[n, c, r, w] for r, w in cell]
            nans = [i for i, value in enumerate(values) if np.isnan(value)]
            first = nans[0] if nans else values.index(max(values))
            np.testing.assert_equal(y[n, c][at], values[first])
            assert indices[n, c][at] == cell[first][0] * shape[3] + cell[first][1]
    dy, dx = np.random.default_rng(1).standard_normal(y.shape), np.empty(shape)
    wanted = np.zeros((*shape[:2], shape[2] * shape[3]))
    for at in np.ndindex(*dy.shape):
        wanted[at[0], at[1], indices[at]] += dy[at]
    pooling.max_pool2d_backward(dy, indices, dx, input_shape=shape)
    assert_close(dx, wanted.reshape(shape), length=9)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("kind, shape, attrs, size, cells", PROBLEMS)
def test_average(kind, shape, attrs, size, cells, count_include_pad) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(shape), rng.standard_normal((*shape[:2], *size))
    y, dx = np.empty(dy.shape), np.empty(shape)
    if kind == "window":
        attrs = {**attrs, "count_include_pad": count_include_pad}
        pooling.avg_pool2d(x, y, **attrs)
        pooling.avg_pool2d_backward(dy, dx, input_shape=shape, **attrs)
    else:
        pooling.adaptive_avg_pool2d(x, y, **attrs)
        pooling.adaptive_avg_pool2d_backward(dy, dx, input_shape=shape)
    wanted_y, wanted_dx = np.zeros(dy.shape), np.zeros(shape)
    for n, c in np.ndindex(*shape[:2]):
        for at, cell in cells.items():
            counts_padding = kind == "window" and count_include_pad
            divisor = attrs["kernel_size"][0] * attrs["kernel_size"][1] if counts_padding else len(cell)
            for source in cell:
                wanted_y[n, c][at] += x[n, c][source] / divisor
                wanted_dx[n, c][source] += dy[n, c][at] / divisor
    assert_close(y, wanted_y, length=9)
    assert_close(dx, wanted_dx, length=9)
