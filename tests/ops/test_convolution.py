"""Convolutions against plain loops: every geometry, padding by name, groups, 1-D, transposed, all derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(3)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def naive_conv2d(x, weight, stride, padding, dilation, groups):
    """Seven loops, as the formula says."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    batch, _, height, width = x.shape
    outputs, per_group, kernel_height, kernel_width = weight.shape
    rows = (height - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    columns = (width - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    y = np.zeros((batch, outputs, rows, columns))
    for n, o, r, c in np.ndindex(*y.shape):
        first = o // (outputs // groups) * per_group
        for i, j, k in np.ndindex(per_group, kernel_height, kernel_width):
            seen = x[n, first + i, r * stride[0] + j * dilation[0], c * stride[1] + k * dilation[1]]
            y[n, o, r, c] += weight[o, i, j, k] * seen
    return y


CASES = [
    ((2, 3, 5, 6), (4, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((1, 4, 7, 6), (6, 2, 3, 2), (2, 1), (1, 2), (1, 2), 2),
    ((2, 3, 6, 5), (6, 1, 2, 3), (2, 3), (1, 1), (2, 1), 3),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 2, 4, 4), (3, 2, 1, 1), (2, 2), (0, 0), (1, 1), 1),
]


@pytest.mark.parametrize(("x", "weight", "stride", "padding", "dilation", "groups"), CASES)
def test_conv2d_equals_loops(x, weight, stride, padding, dilation, groups) -> None:
    images, kernels, bias = draw(*x), draw(*weight), draw(weight[0])
    result = F.conv2d(wrap(images), wrap(kernels), wrap(bias), stride, padding, dilation, groups)
    wanted = naive_conv2d(images, kernels, stride, padding, dilation, groups) + bias[:, None, None]
    np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("x", "weight", "stride", "padding", "dilation", "groups"), CASES[1:4])
def test_first_and_second_derivatives(x, weight, stride, padding, dilation, groups) -> None:
    def convolve(images, kernels, bias):
        return F.conv2d(images, kernels, bias, stride, padding, dilation, groups)

    small = (1, *x[1:])
    assert_gradients(convolve, draw(*small), draw(*weight), draw(weight[0]), second=True)


def test_padding_by_name() -> None:
    images = draw(1, 2, 5, 6)
    for kernel in ((3, 3), (2, 4), (1, 5)):
        weight = draw(3, 2, *kernel)
        same = F.conv2d(wrap(images), wrap(weight), padding="same")
        assert same.shape == (1, 3, 5, 6)
        total = [k - 1 for k in kernel]
        frame = ((0, 0), (0, 0), *((t // 2, t - t // 2) for t in total))
        wanted = naive_conv2d(np.pad(images, frame), weight, (1, 1), (0, 0), (1, 1), 1)
        np.testing.assert_allclose(same.numpy(), wanted, rtol=1e-10)
        valid = F.conv2d(wrap(images), wrap(weight), padding="valid")
        assert np.array_equal(valid.numpy(), F.conv2d(wrap(images), wrap(weight)).numpy())


def test_conv1d() -> None:
    x, weight, bias = draw(2, 4, 9), draw(6, 2, 3), draw(6)
    result = F.conv1d(wrap(x), wrap(weight), wrap(bias), stride=2, padding=1, dilation=2, groups=2)
    wanted = naive_conv2d(x[:, :, None], weight[:, :, None], (1, 2), (0, 1), (1, 2), 2)[:, :, 0]
    np.testing.assert_allclose(result.numpy(), wanted + bias[:, None], rtol=1e-10)
    assert F.conv1d(wrap(x), wrap(draw(3, 4, 4)), padding="same").shape == (2, 3, 9)


def test_conv_transpose2d_spreads_each_pixel() -> None:
    x, weight, bias = draw(2, 4, 3, 2), draw(4, 3, 3, 2), draw(6)
    stride, padding, extra, dilation, groups = (2, 3), (1, 0), (1, 2), (2, 1), 2
    result = F.conv_transpose2d(wrap(x), wrap(weight), wrap(bias), stride, padding, extra, groups, dilation).numpy()
    rows = (3 - 1) * 2 - 2 * 1 + 2 * (3 - 1) + 1 + 1
    columns = (2 - 1) * 3 - 0 + 1 * (2 - 1) + 2 + 1
    wanted = np.zeros((2, 6, rows + 2 * padding[0], columns))
    for n, c, h, w in np.ndindex(*x.shape):
        for o, i, j in np.ndindex(3, 3, 2):
            wanted[n, c // 2 * 3 + o, h * 2 + i * 2, w * 3 + j] += x[n, c, h, w] * weight[c, o, i, j]
    np.testing.assert_allclose(result, wanted[:, :, 1:-1] + bias[:, None, None], rtol=1e-10, atol=1e-12)


def test_conv_transpose2d_gradients() -> None:
    assert_gradients(
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
        draw(1, 2, 3, 2),
        draw(2, 3, 3, 3),
        draw(3),
        second=True,
    )


def test_no_samples() -> None:
    x, weight = wrap(draw(0, 2, 4, 4)), wrap(draw(3, 2, 3, 3)).requires_grad_()
    y = F.conv2d(x, weight, padding=1)
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.numpy().any()


@pytest.mark.parametrize(
    ("x", "weight", "options", "text"),
    [
        ((1, 3, 4, 4), (2, 4, 3, 3), {}, r"weight\[O,3,KH,KW\] for input \(1, 3, 4, 4\).*in_channels / groups"),
        ((1, 3, 4, 4), (2, 1, 3, 3), {"groups": 2}, "groups that divide the channels.*groups=2"),
        ((1, 3, 2, 4), (2, 3, 3, 3), {}, "a kernel no larger than the padded input"),
        ((4, 4), (2, 3, 3, 3), {}, r"expected x\[N,C,H,W\], or \[C,H,W\] of one sample, got 2 axes"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"stride": 0}, "stride as an int or two ints of at least 1, got 0"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": -1}, "padding as an int or two ints of at least 0"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": "full"}, "'same' or 'valid', got 'full'"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": "same", "stride": 2}, "stride 1 with padding='same'"),
    ],
)
def test_errors(x, weight, options, text) -> None:
    with pytest.raises(ShapeError, match=text):
        F.conv2d(F.zeros(x), F.zeros(weight), **options)


def test_dtypes_and_bias_are_checked() -> None:
    with pytest.raises(DtypeError, match="a floating dtype"):
        F.conv2d(F.zeros((1, 3, 4, 4), dtype="s32"), F.zeros((2, 3, 3, 3), dtype="s32"))
    with pytest.raises(ShapeError, match=r"a bias of shape \(2,\)"):
        F.conv2d(F.zeros((1, 3, 4, 4)), F.zeros((2, 3, 3, 3)), F.zeros(3))
    with pytest.raises(ShapeError, match="output_padding less than stride"):
        F.conv_transpose2d(F.zeros((1, 3, 4, 4)), F.zeros((3, 2, 3, 3)), stride=2, output_padding=2)
    with pytest.raises(ShapeError, match="a padding that leaves something of the result, got a result of"):
        F.conv_transpose2d(F.zeros((1, 3, 1, 1)), F.zeros((3, 2, 1, 1)), padding=2)


def test_one_sample_without_a_batch_axis() -> None:
    x, weight, bias = RNG.normal(size=(4, 6, 5)), RNG.normal(size=(2, 4, 3, 3)), RNG.normal(size=2)
    for options in ({"padding": "same"}, {"stride": 2, "padding": 1}, {"dilation": 2}):
        got = F.conv2d(wrap(x), wrap(weight), wrap(bias), **options).numpy()
        assert np.array_equal(got, F.conv2d(wrap(x[None]), wrap(weight), wrap(bias), **options).numpy()[0])
        row, kernel = wrap(x[:, 0]), wrap(weight[:, :, 0])
        got = F.conv1d(row, kernel, wrap(bias), **options).numpy()
        assert np.array_equal(got, F.conv1d(row[None], kernel, wrap(bias), **options).numpy()[0])
    transposed = wrap(weight.transpose(1, 0, 2, 3).copy())
    got = F.conv_transpose2d(wrap(x), transposed, wrap(bias)).numpy()
    assert np.array_equal(got, F.conv_transpose2d(wrap(x[None]), transposed, wrap(bias)).numpy()[0])


@pytest.mark.parametrize(
    ("x", "weight", "options", "text"),
    [
        ((1, 4, 3), (2, 4, 5), {}, r"conv1d: expected a kernel no larger .*kernel \(5,\)"),
        ((1, 4, 3), (2, 3, 2), {}, r"conv1d: expected weight\[O,4,K\]"),
        ((1, 4, 3), (2, 4, 2), {"stride": 0}, "conv1d: expected stride of at least 1, got 0"),
        ((1, 4, 3), (2, 4, 2), {"padding": "same", "stride": 2}, "conv1d: expected stride 1 with padding='same'"),
        ((4,), (2, 4, 2), {}, r"conv1d: expected x\[N,C,L\], or \[C,L\] of one sample, got 1 axes"),
        ((1, 4, 3), (2, 4, 2), {"bias": F.zeros((3,))}, r"conv1d: expected a bias of shape \(2,\)"),
    ],
)
def test_errors_of_rows_speak_of_rows(x, weight, options, text) -> None:
    with pytest.raises(ShapeError, match=text):
        F.conv1d(F.zeros(x), F.zeros(weight), **options)
