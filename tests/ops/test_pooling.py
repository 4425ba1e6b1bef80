"""Pooling against plain loops over windows and cells."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(4)


def distinct(*shape: int) -> np.ndarray:
    """No two elements are close, so that the maximum is differentiable."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape).astype(np.float64)


def windows(x, kernel, stride, padding, fill):
    """The clipped windows as a dict from output position to elements, padding filled in."""
    frame = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x, frame, constant_values=fill)
    rows = (padded.shape[2] - kernel[0]) // stride[0] + 1
    columns = (padded.shape[3] - kernel[1]) // stride[1] + 1
    result = np.empty((*x.shape[:2], rows, columns, kernel[0] * kernel[1]))
    for r, c in np.ndindex(rows, columns):
        top, left = r * stride[0], c * stride[1]
        result[:, :, r, c] = padded[:, :, top : top + kernel[0], left : left + kernel[1]].reshape(*x.shape[:2], -1)
    return result


GEOMETRIES = [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1)), ((1, 1), (1, 1), (0, 0)), ((5, 6), (1, 1), (0, 0))]


@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_max_pool2d(kernel, stride, padding) -> None:
    x = distinct(2, 3, 5, 6)
    y, indices = F.max_pool2d(wrap(x), kernel, stride, padding, return_indices=True)
    assert np.array_equal(y.numpy(), windows(x, kernel, stride, padding, -np.inf).max(-1))
    picked = np.take_along_axis(x.reshape(2, 3, -1), indices.numpy().reshape(2, 3, -1).astype(np.int64), axis=2)
    assert np.array_equal(picked.reshape(y.shape), y.numpy())


@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool2d(kernel, stride, padding, count_include_pad) -> None:
    x = distinct(2, 3, 5, 6)
    y = F.avg_pool2d(wrap(x), kernel, stride, padding, count_include_pad).numpy()
    if count_include_pad:
        wanted = windows(x, kernel, stride, padding, 0).mean(-1)
    else:
        wanted = np.nanmean(windows(x, kernel, stride, padding, np.nan), axis=-1)
    np.testing.assert_allclose(y, wanted, rtol=1e-12)


@pytest.mark.parametrize("output_size", [(1, 1), (2, 3), (5, 6), (4, 5), (7, 3)])
def test_adaptive_pooling(output_size) -> None:
    x = distinct(2, 3, 5, 6)
    average = F.adaptive_avg_pool2d(wrap(x), output_size).numpy()
    highest = F.adaptive_max_pool2d(wrap(x), output_size).numpy()
    for r, c in np.ndindex(*output_size):
        rows = slice(r * 5 // output_size[0], -(-(r + 1) * 5 // output_size[0]))
        columns = slice(c * 6 // output_size[1], -(-(c + 1) * 6 // output_size[1]))
        cell = x[:, :, rows, columns]
        np.testing.assert_allclose(average[:, :, r, c], cell.mean((2, 3)), rtol=1e-12)
        assert np.array_equal(highest[:, :, r, c], cell.max((2, 3)))


def test_one_axis() -> None:
    x = distinct(2, 3, 7)
    assert np.array_equal(
        F.max_pool1d(wrap(x), 3, 2, 1).numpy(),
        F.max_pool2d(wrap(x[:, :, None]), (1, 3), (1, 2), (0, 1)).numpy()[:, :, 0],
    )
    np.testing.assert_allclose(F.avg_pool1d(wrap(x), 7).numpy()[:, :, 0], x.mean(2), rtol=1e-12)


def test_derivatives() -> None:
    x = distinct(1, 2, 4, 5)
    assert_gradients(lambda v: F.max_pool2d(v * v, 3, 2, 1), x + 1, second=True)
    assert_gradients(lambda v: F.avg_pool2d(v * v, 3, 2, 1), x / 10, second=True)
    assert_gradients(lambda v: F.avg_pool2d(v, 3, 2, 1, count_include_pad=False), x)
    assert_gradients(lambda v: F.adaptive_avg_pool2d(v * v, (3, 2)), x / 10, second=True)
    assert_gradients(lambda v: F.adaptive_max_pool2d(v, (3, 2)), x)


def test_ties_and_nan() -> None:
    x = np.zeros((1, 1, 2, 2))
    y, indices = F.max_pool2d(wrap(x), 2, return_indices=True)
    assert indices.tolist() == [[[[0]]]]
    x[0, 0, 1, 0] = np.nan
    y, indices = F.max_pool2d(wrap(x), 2, return_indices=True)
    assert np.isnan(y.numpy()).all()
    assert indices.tolist() == [[[[2]]]]


def test_errors() -> None:
    with pytest.raises(ShapeError, match="max_pool2d: expected padding of at most half the kernel"):
        F.max_pool2d(F.zeros((1, 1, 4, 4)), 2, padding=2)
    with pytest.raises(ShapeError, match="average_pool2d: expected a kernel no larger than the padded input"):
        F.avg_pool2d(F.zeros((1, 1, 2, 4)), 3)
    with pytest.raises(ShapeError, match="an input with 4 axes, got 3 axes"):
        F.max_pool2d(F.zeros((1, 4, 4)), 2)
    with pytest.raises(ShapeError, match="output_size as an int or two ints of at least 1"):
        F.adaptive_avg_pool2d(F.zeros((1, 1, 4, 4)), 0)
