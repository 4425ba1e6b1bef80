"""Depthwise convolution on plain images: every way that a plane lies in its zeros; borders belong to nobody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dtrain.base.dtype import float32, float64
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import kernels_of, reference_of
from dtrain.kernels.workspace import with_workspace

OPS = ("conv2d", "conv2d_backward_data", "conv2d_backward_weights")
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
}


class Convolution:
    """Arrays of one shape without zeros, and what each op is called with."""

    def __init__(self, name: str, dtype: np.dtype) -> None:
        x, (multiplier, *kernel), stride, padding, dilation = SHAPES[name]
        rng = np.random.default_rng(5)
        self.dtype = float32 if dtype == np.float32 else float64
        y = [
            (size + 2 * pad - apart * (taps - 1) - 1) // step + 1
            for size, taps, step, pad, apart in zip(x[2:], kernel, stride, padding, dilation)
        ]
        shapes = (x, (x[1] * multiplier, 1, *kernel), (x[0], x[1] * multiplier, *y))
        self.x, self.w, self.y = (
            (rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)).astype(dtype) for shape in shapes
        )
        self.attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": x[1]}

    def of(self, op: str) -> tuple[list[np.ndarray], tuple[int, ...], dict[str, Any]]:
        if op == "conv2d":
            return [self.x, self.w], self.y.shape, self.attrs
        if op == "conv2d_backward_data":
            return [self.y, self.w], self.x.shape, {**self.attrs, "input_shape": self.x.shape}
        return [self.y, self.x], self.w.shape, {**self.attrs, "weight_shape": self.w.shape}

    def compute(self, kernel: Candidate) -> np.ndarray:
        inputs, shape, attrs = self.of(kernel.op)
        dtype = float64 if kernel.is_reference else self.dtype
        problem = Problem(kernel.op, [tensor_type(a.shape, dtype) for a in inputs], [tensor_type(shape, dtype)], attrs)
        assert kernel.why_not(problem) is None
        out = np.full(shape, np.nan, dtype.numpy)
        function = with_workspace(kernel.function, kernel.workspace_nbytes(problem))
        function(*(np.ascontiguousarray(a, dtype.numpy) for a in inputs), out=out, **attrs)
        return out


def dtype_of(kernel: Candidate) -> np.dtype:
    return np.dtype(np.float32 if "_f32_" in kernel.name else np.float64)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("name", SHAPES)
def test_against_the_reference(kernel: Candidate, name: str) -> None:
    call = Convolution(name, dtype_of(kernel))
    accuracy = 1e-5 if call.dtype is float32 else 1e-13
    np.testing.assert_allclose(
        call.compute(kernel), call.compute(reference_of(kernel.op)), rtol=accuracy, atol=accuracy
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "more padding than kernel"])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_what_is_not_finite_reaches_who_sees_it(kernel: Candidate, name: str) -> None:
    """In the last column of the last row, where vectors stick out, and in the first; of either input."""
    for place in (-1, 0):
        for which in (0, 1):
            call = Convolution(name, dtype_of(kernel))
            call.of(kernel.op)[0][which].reshape(-1)[place] = np.inf
            got, wanted = call.compute(kernel), call.compute(reference_of(kernel.op))
            np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
            np.testing.assert_array_equal(np.isinf(got), np.isinf(wanted))
