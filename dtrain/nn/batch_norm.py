"""Batch normalization, on one process and with statistics over all ranks.

How ranks exchange statistics is not known on this floor: `dtrain.collectives` sets `SyncBatchNorm.exchange`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

import dtrain.functional as F
from dtrain.base.dtype import int64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.context import no_grad
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import ones, zeros
from dtrain.nn.module import Module
from dtrain.ops.batch_norm import BatchNormTraining, affine_of

SomeSync = TypeVar("SomeSync", bound="SyncBatchNorm")


class BatchNorm(Module):
    """y = (x − mean)/√(variance + eps)·weight + bias for each channel of x[N, C, …].

    Training takes the batch's mean and variance, and moves the running ones by `momentum` towards them; evaluation
    takes the running ones. `num_batches_tracked` counts the calls in training, with momentum None those of batches
    that were not empty.

    Args:
        momentum: None for the average over all batches so far, each counting alike.
        affine: whether weight and bias (1 and 0 at first) are trained.
        bias: whether an affine layer has a bias.
        track_running_stats: without them evaluation uses the batch's statistics too.
    """

    axes: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        bias: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(ones((num_features,))) if affine else None
        self.bias = Parameter(zeros((num_features,))) if affine and bias else None
        self.register_buffer("running_mean", zeros((num_features,)) if track_running_stats else None)
        self.register_buffer("running_var", ones((num_features,)) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=int64) if track_running_stats else None)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        self.count_batch()
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
            num_batches_tracked=self.num_batches_tracked,
        )

    def count_batch(self) -> None:
        """One batch more in `num_batches_tracked`, in training; for momentum None the averaging does it.

        An empty batch counts too, so that ranks with fewer samples have the same count without a message.
        """
        if self.training and self.momentum is not None and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.assign_(self.num_batches_tracked + 1)

    def check_input(self, x: Tensor) -> None:
        """Raise ShapeError unless x has the layer's channels and number of axes."""
        if x.ndim not in self.axes or x.shape[1] != self.num_features:
            allowed = " or ".join(map(str, self.axes))
            wanted = f"x[N, {self.num_features}, …] of {allowed} axes"
            raise ShapeError(expected(type(self).__name__, wanted, str(x.type)))

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"


class BatchNorm1d(BatchNorm):
    """Batch norm over x[N, C] or x[N, C, L]."""

    axes = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch norm over images x[N, C, H, W]."""

    axes = (4,)


class StatisticsExchange(Protocol):
    """How a layer's statistics [2C+1] and backward sums Σdy and Σdy·x̂, [C] each, of this rank become those of all."""

    def combine_statistics(self, stats: Tensor) -> Tensor: ...

    def combine_sums(self, grad_sums: Tensor, product_sums: Tensor) -> tuple[Tensor, Tensor]: ...


def _alone(layer: SyncBatchNorm) -> StatisticsExchange | None:
    """One process: nothing to exchange."""
    return None


class SyncBatchNorm(BatchNorm):
    """Batch norm whose training statistics are those of the batches of all ranks together.

    Ranks may have batches of different sizes, also empty ones. The losses of all ranks add up: input gradients are
    exact, and those of weight and bias are this rank's part of the sum, to be reduced like the gradients of all
    parameters (`data_parallel` does it). Without other ranks it is a plain batch norm.
    """

    exchange: ClassVar[Callable[[SyncBatchNorm], StatisticsExchange | None]] = _alone
    # `collectives.convert_sync_batch_norm` under PyTorch's name; there once `collectives` has been used.
    convert_sync_batchnorm: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        bias: bool = True,
        group: str = "world",
    ) -> None:
        super().__init__(num_features, eps, momentum, affine=affine, track_running_stats=track_running_stats, bias=bias)
        self.group = group

    @classmethod
    def from_batch_norm(cls: type[SomeSync], layer: BatchNorm, *, group: str = "world") -> SomeSync:
        """A layer that shares parameters, running statistics and mode with `layer`."""
        new = cls(
            layer.num_features,
            layer.eps,
            layer.momentum,
            affine=layer.weight is not None,
            track_running_stats=layer.running_mean is not None,
            bias=layer.bias is not None,
            group=group,
        )
        new.weight, new.bias = layer.weight, layer.bias
        new.running_mean, new.running_var = layer.running_mean, layer.running_var
        new.num_batches_tracked = layer.num_batches_tracked
        new.training, new._boundary = layer.training, layer._boundary
        return new

    def forward(self, x: Tensor) -> Tensor:
        exchange = self.exchange() if self.training or self.running_mean is None else None
        if exchange is None:
            return super().forward(x)
        self.check_input(x)
        self.count_batch()
        running = (self.running_mean, self.running_var) if self.training else (None, None)
        layer = BatchNormTraining(
            *running,
            momentum=self.momentum,
            num_batches=self.num_batches_tracked if self.momentum is None else None,
            eps=self.eps,
            combine_statistics=exchange.combine_statistics,
            combine_sums=exchange.combine_sums,
        )
        weight, bias = affine_of(x, self.weight, self.bias)
        y: Tensor = layer(x, weight, bias)
        return y
