"""Normalization within each sample: layer, group, instance and root-mean-square norm."""

from __future__ import annotations

from collections.abc import Sequence

import dtrain.functional as F
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import ones, zeros
from dtrain.nn.module import Module


class LayerNorm(Module):
    """Normalize over the last axes, whose sizes are `normalized_shape`, then scale and shift (Ba et al. 2016).

    Args:
        affine: whether a weight, and unless `bias` is False a bias, are trained.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, *, affine: bool = True, bias: bool = True
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(ones(shape)) if affine else None
        self.bias = Parameter(zeros(shape)) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """Divide by the root mean square over the last axes, then scale (Zhang, Sennrich 2019)."""

    weight: Parameter | None

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, *, affine: bool = True) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(ones(shape)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Normalize each sample of x[N, C, …] over groups of C/num_groups channels (Wu, He 2018).

    Args:
        affine: whether a weight, and unless `bias` is False a bias, are trained.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, *, affine: bool = True, bias: bool = True
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            given = f"{num_channels} channels in {num_groups} groups"
            raise ShapeError(expected("GroupNorm", "channels that divide into groups", given))
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(ones((num_channels,))) if affine else None
        self.bias = Parameter(zeros((num_channels,))) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class InstanceNorm2d(Module):
    """Normalize each channel of each image of x[N, C, H, W] by itself (Ulyanov et al. 2016).

    Args:
        affine: whether a weight, and unless `bias` is False a bias, are trained.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False, bias: bool = True) -> None:
        self.num_features, self.eps = num_features, eps
        self.weight = Parameter(ones((num_features,))) if affine else None
        self.bias = Parameter(zeros((num_features,))) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ShapeError(expected("InstanceNorm2d", f"x[N, {self.num_features}, H, W]", str(x.type)))
        return F.instance_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"
