"""Pooling layers over [N, C, L] and [N, C, H, W], and over one sample without N."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module
from dtrain.ops.convolution import PairLike


def _shown(layer: Module, *names: str) -> str:
    """The first three settings, and of the others those that are on."""
    values = {name: getattr(layer, name) for name in names}
    usual = {"dilation": 1, "ceil_mode": False, "count_include_pad": True}
    return ", ".join(f"{name}={value}" for name, value in values.items() if name not in usual or value != usual[name])


class _MaxPool(Module):
    """What the layers share; `function` is that of the same name."""

    function: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        kernel_size: PairLike,
        stride: PairLike | None = None,
        padding: PairLike = 0,
        dilation: PairLike = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        return type(self).function(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        return _shown(self, "kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool2d(_MaxPool):
    """The largest value of each window; the stride is the window unless given. Padding counts as −∞."""

    function = F.max_pool2d


class MaxPool1d(_MaxPool):
    """`MaxPool2d` over x[N, C, L]."""

    function = F.max_pool1d


class AvgPool2d(Module):
    """The mean of each window; zeros of the padding count unless count_include_pad is False.

    Args:
        divisor_override: divide by this number instead.
    """

    def __init__(
        self,
        kernel_size: PairLike,
        stride: PairLike | None = None,
        padding: PairLike = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return _shown(self, "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


class AvgPool1d(Module):
    """`AvgPool2d` over x[N, C, L]."""

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return _shown(self, "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


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
