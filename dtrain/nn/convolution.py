"""Convolution layers over [N, C, L] and [N, C, H, W]."""

from __future__ import annotations

from typing import Any

import dtrain.functional as F
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.nn.linear import init_uniform_by_fan_in
from dtrain.nn.module import Module
from dtrain.ops.convolution import PairLike, as_pair


class _Convolution(Module):
    """What the convolution layers share: weight[out, in/groups, …kernel] and bias[out], begun as in Linear."""

    bias: Parameter | None
    is_transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, ...],
        groups: int,
        bias: bool,
        **settings: Any,
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            given = f"{in_channels} and {out_channels} channels in {groups} groups"
            raise ShapeError(expected(type(self).__name__, "channels that divide into groups", given))
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.groups, self.settings = groups, settings
        first, second = (in_channels, out_channels) if self.is_transposed else (out_channels, in_channels)
        self.weight = Parameter(zeros((first, second // groups, *kernel_size)))
        self.bias = Parameter(zeros((out_channels,))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        init_uniform_by_fan_in(self.weight, self.bias)

    def extra_repr(self) -> str:
        shown = {**self.settings, "groups": self.groups, "bias": self.bias is not None}
        text = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {text}"


class Conv2d(_Convolution):
    """Cross-correlation over x[N, in, H, W] to [N, out, H', W'].

    Args:
        kernel_size, stride, padding, dilation: one number for both axes or a pair; padding also "same" or "valid".
        groups: cut the channels into so many independent convolutions; in_channels for a depthwise one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PairLike,
        stride: PairLike = 1,
        padding: PairLike | str = 0,
        dilation: PairLike = 1,
        groups: int = 1,
        *,
        bias: bool = True,
    ) -> None:
        settings = {"stride": stride, "padding": padding, "dilation": dilation}
        kernel = as_pair("Conv2d", "kernel_size", kernel_size, 1)
        super().__init__(in_channels, out_channels, kernel, groups, bias, **settings)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Convolution):
    """Cross-correlation over x[N, in, L] to [N, out, L']; arguments as Conv2d, single numbers."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        *,
        bias: bool = True,
    ) -> None:
        settings = {"stride": stride, "padding": padding, "dilation": dilation}
        super().__init__(in_channels, out_channels, (kernel_size,), groups, bias, **settings)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Convolution):
    """The adjoint of Conv2d: x[N, in, H, W] to [N, out, H', W'] with weight[in, out/groups, …kernel].

    Args:
        output_padding: rows and columns added to one side, where several sizes would fit the stride.
    """

    is_transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PairLike,
        stride: PairLike = 1,
        padding: PairLike = 0,
        output_padding: PairLike = 0,
        groups: int = 1,
        dilation: PairLike = 1,
        *,
        bias: bool = True,
    ) -> None:
        settings = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
        kernel = as_pair("ConvTranspose2d", "kernel_size", kernel_size, 1)
        super().__init__(in_channels, out_channels, kernel, groups, bias, **settings)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.output_padding = output_padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
