"""Pooling layers over [N, C, L] and [N, C, H, W]."""

from __future__ import annotations

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module
from dtrain.ops.convolution import PairLike


class MaxPool2d(Module):
    """The largest value of each window; the stride is the window unless given. Padding counts as −∞."""

    def __init__(self, kernel_size: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.max_pool2d(x, self.kernel_size, self.stride, self.padding)
        return y

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool1d(Module):
    """`MaxPool2d` over x[N, C, L]."""

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window; zeros of the padding count unless count_include_pad is False."""

    def __init__(
        self,
        kernel_size: PairLike,
        stride: PairLike | None = None,
        padding: PairLike = 0,
        *,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(Module):
    """`AvgPool2d` over x[N, C, L]."""

    def __init__(
        self, kernel_size: int, stride: int | None = None, padding: int = 0, *, count_include_pad: bool = True
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The mean of each of output_size cells, whatever the image size."""

    def __init__(self, output_size: PairLike) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"{self.output_size}"


class AdaptiveMaxPool2d(Module):
    """The largest value of each of output_size cells, whatever the image size."""

    def __init__(self, output_size: PairLike) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.adaptive_max_pool2d(x, self.output_size)
        return y

    def extra_repr(self) -> str:
        return f"{self.output_size}"
