"""One convolution as its three ops see it: what each is called with, and what a kernel makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.base.dtype import DType
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.problem import Problem
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

    def compute(self, kernel: Candidate, dtype: DType, *, magnitudes: bool = False) -> np.ndarray:
        """What the kernel gives in this dtype; of absolute numbers where magnitudes are asked for."""
        inputs, shape, attrs = self.of(kernel.op)
        problem = self.problem(kernel.op, dtype)
        assert kernel.why_not(problem) is None
        arrays = [np.ascontiguousarray(np.abs(a) if magnitudes else a, dtype.numpy) for a in inputs]
        out = np.full(shape, np.nan, dtype.numpy)
        with_workspace(kernel.function, kernel.workspace_nbytes(problem))(*arrays, out=out, **attrs)
        return out
