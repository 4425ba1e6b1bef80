"""Normalization within each sample: layer, group, instance and root-mean-square norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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


class _InstanceNorm(Module):
    """Normalize each channel of each sample of x[N, C, …], or of one x[C, …], by itself (Ulyanov et al. 2016).

    Args:
        momentum: how far running values move towards the mean of a batch's; of no effect without them.
        affine: whether a weight, and unless `bias` is False a bias, are trained.
        track_running_stats: keep running means and variances in training, and evaluate with them as batch norm does.
    """

    spatial: ClassVar[str]  # the axes behind the channels
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        affine: bool = False,
        track_running_stats: bool = False,
        bias: bool = True,
    ) -> None:
        if track_running_stats and not isinstance(momentum, int | float):
            advice = "0.1 is the usual one; the average over all batches, None, is one of batch norm"
            raise ValueError(expected(type(self).__name__, "momentum as a number", repr(momentum), advice))
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(ones((num_features,))) if affine else None
        self.bias = Parameter(zeros((num_features,))) if affine and bias else None
        self.register_buffer("running_mean", zeros((num_features,)) if track_running_stats else None)
        self.register_buffer("running_var", ones((num_features,)) if track_running_stats else None)

    def forward(self, x: Tensor) -> Tensor:
        ndim = len(self.spatial.split(", ")) + 2
        if x.ndim not in (ndim - 1, ndim) or x.shape[1 - ndim] != self.num_features:
            wanted = f"x[N, {self.num_features}, {self.spatial}] or x[{self.num_features}, {self.spatial}]"
            raise ShapeError(expected(type(self).__name__, wanted, str(x.type)))
        return self._of_batch(x) if x.ndim == ndim else self._of_batch(x[None])[0]

    def _of_batch(self, x: Tensor) -> Tensor:
        own = self.training or self.running_mean is None
        running = self.running_mean, self.running_var
        return F.instance_norm(x, *running, self.weight, self.bias, own, self.momentum or 0.0, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


class InstanceNorm1d(_InstanceNorm):
    """Normalize each channel of each row of x[N, C, L], or of one x[C, L], by itself; arguments as InstanceNorm2d."""

    spatial = "L"


class InstanceNorm2d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__
    spatial = "H, W"


class InstanceNorm3d(_InstanceNorm):
    """Normalize each channel of each volume of x[N, C, D, H, W] by itself; arguments as InstanceNorm2d."""

    spatial = "D, H, W"
