"""Batch normalization layers, alone and over all ranks.

The sync layer computes the same thing with two hooks in it; how they reach the other ranks is handed in from the
floor above (`SyncBatchNorm.exchange`), since layers know nothing of communicators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from dtrain.base.dtype import DTypeLike, float32
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import ones, zeros
from dtrain.nn.module import Module
from dtrain.ops.batch_norm import BatchNormTraining, affine_of, batch_norm


class BatchNorm(Module):
    """y = (x − mean) / √(variance + eps) · weight + bias for each channel, axis 1 of x[N,C,…].

    Training normalizes by the batch and moves `running_mean` and `running_var` towards it by `momentum`, the share of
    the new value; evaluation uses the running values.

    Args:
        num_features: C.
        affine: have `weight` (ones) and `bias` (zeros).
        track_running_stats: keep running values; without them the batch's are used in evaluation too.
    """

    allowed_ndim: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = float32,
    ) -> None:
        if num_features < 1:
            raise ValueError(expected(type(self).__name__, "num_features of at least 1", str(num_features)))
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight = Parameter(ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_features, dtype=dtype)) if affine else None
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if track_running_stats else None)

    running_mean: Tensor | None
    running_var: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self.allowed_ndim or x.shape[1] != self.num_features:
            axes = " or ".join(map(str, self.allowed_ndim))
            wanted = f"an input [N,{self.num_features},…] of {axes} axes"
            raise ShapeError(expected(type(self).__name__, wanted, str(x.type)))

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"


class BatchNorm1d(BatchNorm):
    """`BatchNorm` of x[N,C] or x[N,C,L]."""

    allowed_ndim = (2, 3)


class BatchNorm2d(BatchNorm):
    """`BatchNorm` of x[N,C,H,W]."""

    allowed_ndim = (4,)


class BatchNorm3d(BatchNorm):
    """`BatchNorm` of x[N,C,D,H,W]."""

    allowed_ndim = (5,)


class StatisticsExchange(Protocol):
    """Makes this rank's packed statistics and backward sums those of all ranks of a group."""

    def combine_statistics(self, stats: Tensor) -> Tensor: ...

    def combine_sums(self, sums: Tensor) -> Tensor: ...


class SyncBatchNorm(BatchNorm):
    """`BatchNorm` with the statistics of the batches of all ranks in `group`, weighed by their sizes.

    Exact for uneven and empty batches, forward and backward: with data_parallel, training on several ranks is training
    on one with all samples. Evaluation does not communicate. In a world of one it is BatchNorm.

    The gradients of weight and bias are summed over the ranks in backward (`Parameter.gradient_is_global`).
    """

    # Called with the layer; None means that it is alone. dtrain.collectives sets it when it is used.
    exchange: ClassVar[Callable[[SyncBatchNorm], StatisticsExchange | None] | None] = None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        group: str = "world",
        dtype: DTypeLike = float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype=dtype)
        self.group = group

    @classmethod
    def from_batch_norm(cls, layer: BatchNorm, *, group: str = "world") -> SyncBatchNorm:
        """A sync layer on the very parameters and running values of `layer`."""
        made = cls(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats, group=group
        )  # fmt: skip
        made.weight, made.bias = layer.weight, layer.bias
        made.running_mean, made.running_var = layer.running_mean, layer.running_var
        made.training = layer.training
        return made

    def forward(self, x: Tensor) -> Tensor:
        make_exchange = type(self).exchange
        exchange = make_exchange(self) if make_exchange is not None and self.training else None
        if exchange is None:
            return super().forward(x)
        self._check(x)
        layer = BatchNormTraining(
            self.running_mean,
            self.running_var,
            momentum=self.momentum,
            eps=self.eps,
            combine_statistics=exchange.combine_statistics,
            combine_sums=exchange.combine_sums,
            parameter_gradients_are_global=True,
        )
        y: Tensor = layer(x, *affine_of(x, self.weight, self.bias))
        return y
