"""Depthwise convolution on plain images, plane by plane and by blocks of channels: every way that a plane lies in its
zeros; borders belong to nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from dtrain.base.dtype import DType, float32, float64
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import kernels_of, reference_of
from dtrain.opset.convolution import output_shape
from tests.helpers.convolution_calls import OPS, ConvolutionCall, expect_the_same_beside_what_is_not_finite

KERNELS = [kernel for op in OPS for kernel in kernels_of(op) if "_depthwise_" in kernel.name and kernel.is_supported]
# (batch, channels, height, width), (multiplier, kernel height, kernel width), stride, padding, dilation
SHAPES = {
    "rows of a vector": ((2, 3, 14, 14), (1, 3, 3), (1, 1), (1, 1), (1, 1)),
    "rows of more": ((1, 2, 9, 37), (1, 3, 3), (1, 1), (1, 1), (1, 1)),
    "one row of outputs": ((2, 2, 3, 16), (1, 3, 3), (1, 1), (0, 0), (1, 1)),
    "5×5": ((2, 2, 11, 18), (1, 5, 5), (1, 1), (2, 2), (1, 1)),
    "7×7": ((1, 2, 8, 17), (1, 7, 7), (1, 1), (3, 3), (1, 1)),
    "not square": ((2, 2, 7, 19), (1, 1, 4), (1, 1), (0, 2), (1, 1)),
    "1×1": ((2, 3, 5, 6), (1, 1, 1), (1, 1), (0, 0), (1, 1)),
    "stride 2": ((2, 3, 15, 33), (1, 3, 3), (2, 2), (1, 1), (1, 1)),
    "strides that leave something": ((1, 2, 16, 20), (1, 3, 2), (3, 4), (0, 1), (1, 1)),
    "a stride beyond the kernel": ((1, 2, 12, 13), (1, 1, 1), (3, 2), (0, 0), (1, 1)),
    "dilation": ((2, 2, 13, 21), (1, 3, 3), (1, 1), (2, 4), (2, 4)),
    "stride and dilation": ((1, 2, 17, 23), (1, 3, 3), (2, 3), (3, 1), (3, 2)),
    "more padding than kernel": ((1, 2, 4, 5), (1, 3, 3), (1, 1), (4, 5), (1, 1)),
    "several outputs an input": ((2, 3, 8, 9), (3, 3, 3), (1, 1), (1, 1), (1, 1)),
    "several outputs, stride 2": ((2, 2, 9, 8), (2, 5, 3), (2, 2), (2, 1), (1, 1)),
    "a block of channels": ((2, 16, 4, 4), (1, 3, 3), (1, 1), (1, 1), (1, 1)),
    "blocks and a rest": ((3, 37, 2, 2), (1, 3, 3), (1, 1), (1, 1), (1, 1)),
    "blocks, 5×5": ((2, 17, 7, 6), (1, 5, 5), (1, 1), (2, 2), (1, 1)),
    "blocks, stride 2": ((2, 33, 7, 8), (1, 3, 3), (2, 2), (1, 1), (1, 1)),
    "blocks, 5×5, stride 2": ((1, 18, 9, 14), (1, 5, 5), (2, 2), (2, 2), (1, 1)),
    "one pixel": ((2, 20, 1, 1), (1, 3, 3), (1, 1), (1, 1), (1, 1)),
    "less padding than the kernel reaches": ((1, 16, 6, 9), (1, 3, 3), (1, 1), (0, 0), (1, 1)),
}


def convolution(name: str, dtype: DType) -> ConvolutionCall:
    """Arrays of one shape without zeros."""
    x, (multiplier, *kernel), stride, padding, dilation = SHAPES[name]
    rng = np.random.default_rng(5)
    attrs: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": x[1]}
    w = (x[1] * multiplier, 1, *kernel)
    shapes = (x, w, output_shape("conv2d", x, w, **attrs))
    arrays = ((rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)).astype(dtype.numpy) for shape in shapes)
    return ConvolutionCall(*arrays, attrs)


def dtype_of(kernel: Candidate) -> DType:
    return float32 if "_f32_" in kernel.name else float64


def takes(kernel: Candidate, name: str) -> bool:
    return "_blocks_" not in kernel.name or SHAPES[name][1][0] == 1  # of outputs a channel


def cases(names: Iterable[str]) -> list[Any]:
    """Of each kernel, what it takes."""
    return [
        pytest.param(kernel, name, id=f"{name}-{kernel.name}")
        for name in names
        for kernel in KERNELS
        if takes(kernel, name)
    ]


@pytest.mark.parametrize(("kernel", "name"), cases(SHAPES))
def test_against_the_reference(kernel: Candidate, name: str) -> None:
    dtype = dtype_of(kernel)
    call, accuracy = convolution(name, dtype), 1e-5 if dtype is float32 else 1e-13
    wanted = call.compute(reference_of(kernel.op), float64)
    np.testing.assert_allclose(call.compute(kernel, dtype), wanted, rtol=accuracy, atol=accuracy)


def test_strides_far_beyond_the_image_take_no_time() -> None:
    """20,000² remainders, of which an image of 16 pixels has 16."""
    attrs: dict[str, Any] = {"stride": (20000, 20000), "padding": (1, 1), "dilation": (1, 1), "groups": 16}
    call = ConvolutionCall(np.zeros((1, 16, 4, 4)), np.ones((16, 1, 3, 3)), np.ones((1, 16, 1, 1)), attrs)
    for kernel in KERNELS:
        if kernel.op == "conv2d_backward_data":
            dx = call.compute(kernel, dtype_of(kernel))
            assert dx[:, :, :2, :2].min() == 1 and np.count_nonzero(dx) == 16 * 4, kernel.name


def test_outputs_of_no_pixel_are_refused() -> None:
    x, w, y = np.zeros((1, 16, 1, 1)), np.zeros((16, 1, 3, 3)), np.zeros((1, 16, 0, 0))
    attrs: dict[str, Any] = {"stride": (5, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 16}
    for kernel in KERNELS:
        if kernel.op == "conv2d" and dtype_of(kernel) is float64:
            with pytest.raises(ValueError, match="at least one pixel"):
                kernel.function(x, w, out=y, workspace=np.empty(1 << 16, np.uint8), **attrs)


@pytest.mark.parametrize(("kernel", "name"), cases(name for name in SHAPES if name != "more padding than kernel"))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_what_is_not_finite_reaches_who_sees_it(kernel: Candidate, name: str) -> None:
    """Also where vectors stick out beyond a row."""
    dtype = dtype_of(kernel)
    expect_the_same_beside_what_is_not_finite(convolution(name, dtype), [kernel], dtype)
