"""The convolution references against loops over single numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers.tolerance import assert_close

from dtrain.kernels.reference import convolution

# N, C, H, W, O, groups, KH, KW, stride, padding, dilation
SHAPES = (
    (2, 4, 5, 6, 6, 2, 3, 2, (2, 1), (1, 2), (1, 2)),
    (1, 3, 4, 4, 3, 3, 3, 3, (1, 1), (1, 1), (1, 1)),
    (2, 2, 5, 3, 2, 1, 1, 1, (2, 2), (0, 0), (1, 1)),
)


def taps(shape, output):
    """Every (n, o, y, x, c within group, i, j, input row, input column) whose input lies in the plane."""
    n, c, h, w, o, groups, kh, kw, stride, padding, dilation = shape
    for image, out, y, x, channel, i, j in product(
        range(n), range(o), range(output[0]), range(output[1]), range(c // groups), range(kh), range(kw)
    ):
        row = y * stride[0] + i * dilation[0] - padding[0]
        column = x * stride[1] + j * dilation[1] - padding[1]
        if 0 <= row < h and 0 <= column < w:
            source = out // (o // groups) * (c // groups) + channel
            yield (image, out, y, x), (image, source, row, column), (out, channel, i, j)


@pytest.fixture(params=SHAPES, ids=str)
def problem(request):
    n, c, h, w, o, groups, kh, kw, stride, padding, dilation = shape = request.param
    output = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((h, w), padding, dilation, (kh, kw), stride)
    ]
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((n, c, h, w)), rng.standard_normal((o, c // groups, kh, kw))
    dy = rng.standard_normal((n, o, *output))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, weights, dy, attrs, list(taps(shape, output))


def test_forward(problem) -> None:
    x, weights, dy, attrs, connections = problem
    wanted, got = np.zeros(dy.shape), np.empty(dy.shape)
    for at_y, at_x, at_w in connections:
        wanted[at_y] += x[at_x] * weights[at_w]
    convolution.conv2d(x, weights, got, **attrs)
    assert_close(got, wanted, length=18)


def test_backward_data(problem) -> None:
    x, weights, dy, attrs, connections = problem
    wanted, got = np.zeros(x.shape), np.empty(x.shape)
    for at_y, at_x, at_w in connections:
        wanted[at_x] += dy[at_y] * weights[at_w]
    convolution.conv2d_backward_data(dy, weights, got, input_shape=x.shape, **attrs)
    assert_close(got, wanted, length=18)


def test_backward_weights(problem) -> None:
    x, weights, dy, attrs, connections = problem
    wanted, got = np.zeros(weights.shape), np.empty(weights.shape)
    for at_y, at_x, at_w in connections:
        wanted[at_w] += dy[at_y] * x[at_x]
    convolution.conv2d_backward_weights(dy, x, got, weight_shape=weights.shape, **attrs)
    assert_close(got, wanted, length=60)


def test_col2im_is_the_adjoint_of_im2col() -> None:
    rng = np.random.default_rng(1)
    x, columns = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((3, 2, 3, 2, 3, 3))
    geometry = {"stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)}
    seen, spread = np.empty(columns.shape), np.empty(x.shape)
    convolution.im2col(x, seen, kernel_size=(2, 3), **geometry)
    convolution.col2im(columns, spread, **geometry)
    assert np.isclose((seen * columns).sum(), (x * spread).sum())


def test_short_floats_round_once() -> None:
    """4096 ones: accumulated in f16 they would stop at 2048."""
    x, weights = np.ones((1, 4096, 1, 1), np.float16), np.ones((1, 4096, 1, 1), np.float16)
    out = np.empty((1, 1, 1, 1), np.float16)
    convolution.conv2d(x, weights, out, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
    assert out.item() == 4096
