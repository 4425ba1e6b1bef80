"""The fully connected layer, and the layers that only pass on or flatten."""

from __future__ import annotations

import math
from collections.abc import Sequence

import dtrain.functional as F
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.nn import init
from dtrain.nn.module import Module


class Linear(Module):
    """y = x·weightᵀ + bias for x[…, in_features].

    weight[out, in] and bias[out] begin uniform over ±1/√in_features.
    """

    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(zeros((out_features, in_features)))
        self.bias = Parameter(zeros((out_features,))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        init_uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Gives back its input; takes the place, and any arguments, of a layer that is switched off."""

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class Flatten(Module):
    """Merges the axes from start_axis to end_axis, by default all behind the batch."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.start_axis, self.end_axis)


def init_uniform_by_fan_in(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default of linear and convolution layers: weight and bias uniform over ±1/√fan_in."""
    fan_in, _ = init.fan_in_and_fan_out(weight)
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(bias, -bound, bound)


class Unflatten(Module):
    """One axis taken apart into several."""

    def __init__(self, axis: int, sizes: Sequence[int]) -> None:
        self.axis, self.sizes = axis, tuple(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return F.unflatten(x, self.axis, self.sizes)
