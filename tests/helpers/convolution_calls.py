"""One convolution as its three ops see it: what each is called with, and what a kernel makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dtrain.base.dtype import DType, float64
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import reference_of
from dtrain.kernels.workspace import with_workspace

OPS = ("conv2d", "conv2d_backward_data", "conv2d_backward_weights")


@dataclass
class ConvolutionCall:
    """x [N, C, H, W], w [O, C/G, KH, KW], y or its gradient [N, O, OH, OW], and the attributes of conv2d."""

    x: np.ndarray
    w: np.ndarray
    y: np.ndarray
    attrs: dict[str, Any]

    def of(self, op: str) -> tuple[list[np.ndarray], tuple[int, ...], dict[str, Any]]:
        """Inputs, the shape of the output, and attributes."""
        if op == "conv2d":
            return [self.x, self.w], self.y.shape, self.attrs
        if op == "conv2d_backward_data":
            return [self.y, self.w], self.x.shape, {**self.attrs, "input_shape": self.x.shape}
        return [self.y, self.x], self.w.shape, {**self.attrs, "weight_shape": self.w.shape}

    def problem(self, op: str, dtype: DType) -> Problem:
        inputs, shape, attrs = self.of(op)
        return Problem(op, [tensor_type(a.shape, dtype) for a in inputs], [tensor_type(shape, dtype)], attrs)

    def with_number(self, op: str, which: int, place: int, number: float) -> ConvolutionCall:
        """The same with another number at this place of the inputs of `op`, the first or the second."""
        other = replace(self, x=self.x.copy(), w=self.w.copy(), y=self.y.copy())
        other.of(op)[0][which].reshape(-1)[place] = number
        return other

    def compute(self, kernel: Candidate, dtype: DType, *, magnitudes: bool = False) -> np.ndarray:
        """What the kernel gives in this dtype; of absolute numbers where magnitudes are asked for."""
        inputs, shape, attrs = self.of(kernel.op)
        problem = self.problem(kernel.op, dtype)
        assert kernel.why_not(problem) is None
        arrays = [np.ascontiguousarray(np.abs(a) if magnitudes else a, dtype.numpy) for a in inputs]
        out = np.full(shape, np.nan, dtype.numpy)
        with_workspace(kernel.function, kernel.workspace_nbytes(problem))(*arrays, out=out, **attrs)
        return out


def expect_the_same_beside_what_is_not_finite(call: ConvolutionCall, kernels: list[Candidate], dtype: DType) -> None:
    """∞, −∞ or NaN in a corner of either input reaches who sees it; all others are what they are without it.

    Numbers may be off by 8 ε of the sum of magnitudes.
    """
    reference = reference_of(kernels[0].op)
    bounds = 8 * np.finfo(dtype.numpy).eps * call.compute(reference, float64, magnitudes=True)
    for place, number in ((-1, np.inf), (0, -np.inf), (0, np.nan)):
        for which in (0, 1):
            changed = call.with_number(reference.op, which, place, number)
            wanted = changed.compute(reference, float64)
            is_finite = np.isfinite(wanted)
            for kernel in kernels:
                got = changed.compute(kernel, dtype)
                np.testing.assert_array_equal(got[~is_finite], wanted[~is_finite], kernel.name)
                off = np.abs(got[is_finite] - wanted[is_finite])
                assert (off <= bounds[is_finite]).all(), f"{kernel.name} with {number} at {place} of input {which}"
