"""Pooling layers over [N, C, L] and [N, C, H, W], and over one sample without N."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module
from dtrain.ops.convolution import PairLike


class _Pool(Module):
    """What the layers share: their settings are the arguments of `function`, which is that of the same name."""

    function: ClassVar[Callable[..., Any]]
    usual: ClassVar[dict[str, Any]] = {"dilation": 1, "ceil_mode": False, "count_include_pad": True}
    hidden: ClassVar[tuple[str, ...]] = ("return_indices", "divisor_override")

    def _set(self, settings: dict[str, Any]) -> None:
        self.settings = tuple(name for name in settings if name not in ("self", "__class__"))
        for name in self.settings:
            setattr(self, name, settings[name])

    def forward(self, x: Tensor) -> Any:
        return type(self).function(x, **{name: getattr(self, name) for name in self.settings})

    def extra_repr(self) -> str:
        """The sizes, and of the other settings those that are on."""
        values = {name: getattr(self, name) for name in self.settings if name not in self.hidden}
        is_shown = {name: name not in self.usual or value != self.usual[name] for name, value in values.items()}
        return ", ".join(f"{name}={value}" for name, value in values.items() if is_shown[name])


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: PairLike,
        stride: PairLike | None = None,
        padding: PairLike = 0,
        dilation: PairLike = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._set(locals())


class MaxPool2d(_MaxPool):
    """The largest value of each window; the stride is the window unless given. Padding counts as −∞."""

    function = F.max_pool2d


class MaxPool1d(_MaxPool):
    """`MaxPool2d` over x[N, C, L]."""

    function = F.max_pool1d


class AvgPool2d(_Pool):
    """The mean of each window; zeros of the padding count unless count_include_pad is False.

    Args:
        divisor_override: divide by this number instead.
    """

    function = F.avg_pool2d

    def __init__(
        self,
        kernel_size: PairLike,
        stride: PairLike | None = None,
        padding: PairLike = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set(locals())


class AvgPool1d(_Pool):
    """`AvgPool2d` over x[N, C, L]."""

    function = F.avg_pool1d

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._set(locals())


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
