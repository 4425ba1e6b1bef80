"""Convolution by a kernel of one pixel: pixels of one image and of several, sums in pieces, what is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dtrain.base.dtype import DType, float32, float64
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import kernels_of, reference_of
from tests.helpers.convolution_calls import OPS, ConvolutionCall, expect_the_same_beside_what_is_not_finite

KERNELS = [kernel for op in OPS for kernel in kernels_of(op) if "_pointwise_" in kernel.name and kernel.is_supported]
# (batch, channels, height, width), outputs
SHAPES = {
    "one of each": ((1, 1, 1, 1), 1),
    "a panel of an image": ((2, 5, 4, 8), 17),
    "panels and a rest": ((2, 20, 7, 11), 33),
    "a panel in the midst of an image": ((3, 6, 9, 10), 14),
    "many small images": ((37, 9, 2, 2), 15),
    "images of one pixel": ((65, 7, 1, 1), 29),
    "rows that end anywhere": ((5, 3, 7, 7), 45),
    "many inputs": ((2, 577, 3, 3), 6),
    "many inputs, in place": ((1, 1300, 4, 8), 8),
    "many outputs": ((2, 1024, 2, 2), 150),
    "outputs in several pieces": ((3, 700, 2, 3), 250),
    "few pixels": ((1, 30, 1, 2), 100),
}


def convolution(name: str, dtype: DType) -> ConvolutionCall:
    """Arrays of one shape without zeros."""
    x, outputs = SHAPES[name]
    rng = np.random.default_rng(7)
    attrs: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    shapes = (x, (outputs, x[1], 1, 1), (x[0], outputs, *x[2:]))
    arrays = ((rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)).astype(dtype.numpy) for shape in shapes)
    return ConvolutionCall(*arrays, attrs)


def dtype_of(kernel: Candidate) -> DType:
    return float32 if "_f32_" in kernel.name else float64


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("name", SHAPES)
def test_against_the_reference(kernel: Candidate, name: str) -> None:
    dtype = dtype_of(kernel)
    call = convolution(name, dtype)
    exact = call.compute(reference_of(kernel.op), float64)
    bounds = 16 * np.finfo(dtype.numpy).eps * call.compute(reference_of(kernel.op), float64, magnitudes=True)
    assert (np.abs(call.compute(kernel, dtype) - exact) <= bounds).all()


def test_a_long_sum_is_as_near_as_a_short_one() -> None:
    """40,000 positive numbers: added one by one they would be off by 90 ε."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.5, 1.5, (4, 3, 100, 100)), rng.uniform(0.5, 1.5, (4, 17, 100, 100))
    attrs: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    call = ConvolutionCall(x.astype(np.float32), np.zeros((17, 3, 1, 1)), y.astype(np.float32), attrs)
    exact = call.compute(reference_of(OPS[2]), float64)
    for kernel in KERNELS:
        if kernel.op == OPS[2] and dtype_of(kernel) is float32:
            off = np.abs(call.compute(kernel, float32) - exact) / exact
            assert off.max() <= 24 * np.finfo(np.float32).eps, kernel.name


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("name", [name for name in SHAPES if "many outputs" not in name])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_what_is_not_finite_reaches_who_sees_it(kernel: Candidate, name: str) -> None:
    dtype = dtype_of(kernel)
    expect_the_same_beside_what_is_not_finite(convolution(name, dtype), [kernel], dtype)


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k.op != OPS[2]], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("name", ["many small images", "rows that end anywhere", "many inputs", "a panel of an image"])
def test_an_image_is_the_same_beside_any_others(kernel: Candidate, name: str) -> None:
    """Alone it gives the bits that it gives in a batch. The gradient of weights is a sum over images: left out."""
    dtype = dtype_of(kernel)
    many = convolution(name, dtype)
    whole = many.compute(kernel, dtype)
    for n in {0, len(whole) // 2, len(whole) - 1}:
        one = ConvolutionCall(many.x[n : n + 1], many.w, many.y[n : n + 1], many.attrs)
        np.testing.assert_array_equal(one.compute(kernel, dtype)[0], whole[n])


@pytest.mark.parametrize(
    "changed", [{"stride": (2, 1)}, {"padding": (0, 1)}, {"groups": 2}], ids=["stride", "padding", "groups"]
)
def test_anything_else_is_left_to_others(changed: dict[str, Any]) -> None:
    attrs: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **changed}
    x, w = np.zeros((1, 4, 4, 4)), np.zeros((2, 4 // attrs["groups"], 1, 1))
    sides = [(4 + 2 * pad - 1) // step + 1 for pad, step in zip(attrs["padding"], attrs["stride"])]
    problem = ConvolutionCall(x, w, np.zeros((1, 2, *sides)), attrs).problem("conv2d", float32)
    wanted = "takes kernels of one pixel and one group, without stride and padding"
    assert {k.why_not(problem) for k in KERNELS if k.op == "conv2d" and dtype_of(k) is float32} == {wanted}
