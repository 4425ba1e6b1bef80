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
    y = F.avg_pool2d(wrap(x), kernel, stride, padding, count_include_pad=count_include_pad).numpy()
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
    with pytest.raises(ShapeError, match="avg_pool2d: expected a kernel no larger than the padded input"):
        F.avg_pool2d(F.zeros((1, 1, 2, 4)), 3)
    with pytest.raises(ShapeError, match=r"max_pool2d: expected x\[N,C,H,W\], or \[C,H,W\] of one sample, got 2 axes"):
        F.max_pool2d(F.zeros((4, 4)), 2)
    with pytest.raises(ShapeError, match="output_size as an int or two ints of at least 1"):
        F.adaptive_avg_pool2d(F.zeros((1, 1, 4, 4)), 0)


def _naive(x, kernel, stride, padding, dilation, ceil_mode, reduce):
    """Windows one by one, PyTorch's count of them; `reduce` sees the elements and the window's padded size."""
    counts = []
    for size, k, s, p, d in zip(x.shape, kernel, stride, padding, dilation):
        count = (size + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)) // s + 1
        counts.append(count - ((count - 1) * s >= size + p))
    y = np.empty(counts)
    for place in np.ndindex(*counts):
        starts = [i * s - p for i, s, p in zip(place, stride, padding)]
        axes = [
            [start + j * d for j in range(k) if 0 <= start + j * d < size]
            for start, k, d, size in zip(starts, kernel, dilation, x.shape)
        ]
        area = np.prod([min(k, size + p - start) for start, k, size, p in zip(starts, kernel, x.shape, padding)])
        y[place] = reduce(x[np.ix_(*axes)], area)
    return y


WINDOWS = [
    ((2, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 2), (2, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (2, 2)),
    ((2, 3), (3, 2), (0, 1), (3, 1)),
    ((2, 2), (7, 4), (0, 0), (1, 1)),  # the last window of ceil_mode would begin behind the input
    ((3, 1), (4, 8), (1, 0), (1, 1)),
]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), WINDOWS)
def test_windows_that_are_dilated_or_stick_out(kernel, stride, padding, dilation, ceil_mode) -> None:
    x = RNG.normal(size=(7, 8))
    wanted = _naive(x, kernel, stride, padding, dilation, ceil_mode, lambda seen, _: seen.max())
    y, indices = F.max_pool2d(wrap(x[None]), kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    assert np.array_equal(y.numpy()[0], wanted)
    assert np.array_equal(x.reshape(-1)[indices.numpy()[0]], wanted)
    assert_gradients(
        lambda v: F.max_pool2d(v, kernel, stride, padding, dilation, ceil_mode), x[None, None], second=True
    )
    if dilation == (1, 1):
        for counts, divisor in ((True, None), (False, None), (True, 5)):
            wanted = _naive(
                x, kernel, stride, padding, dilation, ceil_mode,
                lambda seen, area, c=counts, d=divisor: seen.sum() / (d or (area if c else seen.size)),
            )  # fmt: skip
            options = {"ceil_mode": ceil_mode, "count_include_pad": counts, "divisor_override": divisor}
            got = F.avg_pool2d(wrap(x[None]), kernel, stride, padding, **options)
            np.testing.assert_allclose(got.numpy()[0], wanted, rtol=1e-12)
            assert_gradients(
                lambda v, o=options: F.avg_pool2d(v * v, kernel, stride, padding, **o), x[None, None], second=True
            )


@pytest.mark.parametrize("tag", ["f16", "bf16", "f32", "f64"])
def test_rows_are_images_of_one_row(tag) -> None:
    x = wrap(RNG.normal(size=(2, 3, 9))).to(tag)
    for options in ({"padding": 1}, {"stride": 2, "ceil_mode": True}):
        flat = {name: (0 if name == "padding" else 1, v) if name != "ceil_mode" else v for name, v in options.items()}
        image = F.unsqueeze(x, 2)
        stride = {} if "stride" in flat else {"stride": (1, 3)}
        assert np.array_equal(
            F.max_pool1d(x, 3, **options).numpy(), F.max_pool2d(image, (1, 3), **stride, **flat).numpy()[:, :, 0]
        )
        assert np.array_equal(
            F.avg_pool1d(x, 3, **options).numpy(), F.avg_pool2d(image, (1, 3), **stride, **flat).numpy()[:, :, 0]
        )


@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"])
def test_one_sample_without_a_batch_axis(name) -> None:
    x = wrap(RNG.normal(size=(3, 6, 5)))
    function = getattr(F, name + "2d")
    assert np.array_equal(function(x, 2).numpy(), function(x[None], 2).numpy()[0])
    if not name.startswith("adaptive"):
        rows = getattr(F, name + "1d")
        assert np.array_equal(rows(x[0], 2).numpy(), rows(x[:1], 2).numpy()[0])
    else:
        assert function(x, (None, 2)).shape == (3, 6, 2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: F.max_pool1d(x, 2, 0), "max_pool1d: expected stride of at least 1, got 0"),
        (lambda x: F.avg_pool1d(x, 2, 0), "avg_pool1d: expected stride of at least 1, got 0"),
        (lambda x: F.max_pool1d(x, 0), "max_pool1d: expected kernel_size of at least 1, got 0"),
        (lambda x: F.max_pool1d(x, 2, dilation=0), "max_pool1d: expected dilation of at least 1, got 0"),
        (lambda x: F.max_pool1d(x, 9), r"max_pool1d: .* no larger .*, got kernel 9 on f32\[1,2,5\]"),
        (lambda x: F.avg_pool1d(x, 2, padding=2), "avg_pool1d: expected padding .*, got padding 2 for kernel 2"),
        (lambda x: F.max_pool1d(x[0, 0], 2), r"max_pool1d: expected x\[N,C,L\], or \[C,L\] of one sample, got 1 axes"),
        (lambda x: F.avg_pool2d(x[None], 2, divisor_override=0), "avg_pool2d: expected divisor_override of at least 1"),
        (lambda x: F.max_pool2d(F.zeros((1, 1, 2, 2)), 2, padding=1, dilation=3), "windows that see an element"),
    ],
)  # fmt: skip
def test_errors_speak_of_what_was_called(call, text) -> None:
    with pytest.raises(ShapeError, match=text):
        call(F.zeros((1, 2, 5)))
