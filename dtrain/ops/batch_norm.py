"""Batch norm over axis 1 of x[N,C,…], cut into ops where ranks have to talk.

`BatchNormTraining` composes them. It takes the two places where ranks differ as functions: how the statistics
(stats[2C+1] = [count | mean | M2]) and the backward sums (Σ dy and Σ dy·x̂, [C] each) of this rank become those of all
ranks. Sync batch norm is this class with collectives in these places.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from dtrain.autograd.function import Function
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply, apply_tuple, cast, update
from dtrain.core.context import is_grad_enabled, no_grad
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import ones, zeros
from dtrain.graph.op import gradient_of
from dtrain.ops.binary import maximum
from dtrain.ops.normalization import as_eps, standardized, standardized_gradient
from dtrain.ops.shape import reshape
from dtrain.opset.batch_norm import (
    BACKWARD_DATA,
    BACKWARD_SUMS,
    MOMENTS,
    NORMALIZE,
    STATISTICS,
    UPDATE_RUNNING,
    check_input,
)
from dtrain.opset.normalization import accumulation

CombineStatistics = Callable[[Tensor], Tensor]
CombineSums = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


# Forward --------------------------------------------------------------------------------------------------------------


def _over_channels(value: Tensor, x: Tensor) -> Tensor:
    """value[C] shaped to meet x[N,C,…], in the dtype of x."""
    return reshape(cast(value, x.dtype), (1, x.shape[1], *(1,) * (x.ndim - 2)))


def _sums(grad: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor) -> tuple[Tensor, Tensor]:
    """(Σ grad, Σ grad · x̂) for each channel; of ordinary ops where they will be differentiated again."""
    if not is_grad_enabled():
        d_bias, d_weight = apply_tuple(BACKWARD_SUMS, grad, x, mean, inverse_std)
        return d_bias, d_weight
    axes = (0, *range(2, x.ndim))
    wide = cast(x, accumulation(x.dtype))
    normal = (wide - _over_channels(mean, wide)) * _over_channels(inverse_std, wide)
    grad = cast(grad, wide.dtype)
    return grad.sum(axes), (grad * normal).sum(axes)


@gradient_of(NORMALIZE)
def _grad_normalize(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
    """With given mean and inverse std (evaluation): all gradients per channel come out of the two sums."""
    x, mean, inverse_std, weight, bias = node.inputs
    need = node.needs_grad
    dx = None
    if need[0]:
        wide = cast(grad, accumulation(x.dtype))
        dx = cast(wide * _over_channels(weight * inverse_std, wide), x.dtype)
    if not any(need[1:]):
        return dx, None, None, None, None
    d_bias, d_weight = _sums(grad, x, mean, inverse_std)
    return (
        dx,
        cast(-d_bias * weight * inverse_std, mean.dtype) if need[1] else None,
        cast(d_weight * weight / inverse_std, inverse_std.dtype) if need[2] else None,
        cast(d_weight, weight.dtype) if need[3] else None,
        cast(d_bias, bias.dtype) if need[4] else None,
    )


# The layer ------------------------------------------------------------------------------------------------------------


def _as_is(stats: Tensor) -> Tensor:
    return stats


def _both_as_are(grad_sums: Tensor, product_sums: Tensor) -> tuple[Tensor, Tensor]:
    return grad_sums, product_sums


@no_grad()
def _average_over_batches(mean: Tensor, variance: Tensor, num_batches: Tensor, stats: Tensor) -> None:
    """Count the batch, unless it is empty, and move the running values by 1 / count towards its own."""
    channels = mean.shape[0]
    has_samples = cast(stats[0] > 0, num_batches.dtype)
    num_batches.assign_(num_batches + has_samples)
    share = cast(has_samples, stats.dtype) / cast(maximum(num_batches, 1), stats.dtype)
    unbiased = stats[1 + channels :] / maximum(stats[0] - 1, 1)
    for running, new in ((mean, stats[1 : 1 + channels]), (variance, unbiased)):
        wide = cast(running, stats.dtype)
        running.assign_(cast(wide + (new - wide) * share, running.dtype))


class BatchNormTraining(Function):
    """Normalize by the statistics of the batch. Inputs x[N,C,…], weight[C], bias[C]; output y of x's type.

    Args:
        running_mean, running_var: [C] or None; updated in place by `momentum`, the share of the new value.
        num_batches: s64 count of the batches seen, updated in place; with it the running values become the average over
            all batches, and `momentum` says nothing.
        combine_statistics: this rank's stats[2C+1] -> those of all ranks.
        combine_sums: this rank's (Σdy, Σdy·x̂), [C] each -> those of all ranks.

    The gradients of weight and bias are this rank's sums: whoever reduces gradients over the ranks treats them like all
    others.
    """

    def __init__(
        self,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        *,
        momentum: float | None = 0.1,
        num_batches: Tensor | None = None,
        eps: float = 1e-5,
        combine_statistics: CombineStatistics = _as_is,
        combine_sums: CombineSums = _both_as_are,
    ) -> None:
        self.running = None if running_mean is None or running_var is None else (running_mean, running_var)
        if self.running is not None and momentum is None and num_batches is None:
            advice = "pass momentum, or num_batches_tracked to average over all batches"
            raise ValueError(expected("batch_norm", "a momentum or a count of batches", "neither", advice))
        self.momentum = 0.0 if momentum is None else float(momentum)
        self.num_batches = num_batches
        self.eps = as_eps("batch_norm", eps, may_be_zero=False)
        self.combine_statistics = combine_statistics
        self.combine_sums = combine_sums

    def forward(self, *inputs: Tensor) -> Tensor:
        x, weight, bias = inputs
        stats = self.combine_statistics(apply(STATISTICS, x))
        mean, inverse_std, _ = apply_tuple(MOMENTS, stats, eps=self.eps)
        if self.running is not None and self.num_batches is not None:
            _average_over_batches(*self.running, self.num_batches, stats)
        elif self.running is not None:
            update(UPDATE_RUNNING, *self.running, stats, momentum=self.momentum)
        self.save_for_backward(x, weight, bias, mean, inverse_std, stats)
        return apply(NORMALIZE, x, mean, inverse_std, weight, bias)

    def backward(self, *output_grads: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        (dy,) = output_grads
        assert dy is not None
        if is_grad_enabled():
            return self._composed_gradients(dy)
        x, weight, bias, mean, inverse_std, stats = self.saved_tensors
        grad_sums, product_sums = apply_tuple(BACKWARD_SUMS, dy, x, mean, inverse_std)
        combined = self.combine_sums(grad_sums, product_sums)
        dx = apply(BACKWARD_DATA, dy, x, mean, inverse_std, weight, *combined, stats)
        return dx, cast(product_sums, weight.dtype), cast(grad_sums, bias.dtype)

    def _composed_gradients(self, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same gradients from ordinary ops, so that they can be differentiated again."""
        if self.combine_statistics is not _as_is or self.combine_sums is not _both_as_are:
            raise RuntimeError(
                expected("batch_norm over several ranks", "to be differentiated once", "create_graph=True")
            )
        x, weight, bias = self.saved_tensors[:3]
        axes = (0, *range(2, x.ndim))
        normal, inverse_std = standardized(x, axes, self.eps)
        wide = cast(dy, normal.dtype)
        dx = standardized_gradient(wide * _over_channels(weight, normal), normal, inverse_std, axes)
        return cast(dx, x.dtype), cast((wide * normal).sum(axes), weight.dtype), cast(wide.sum(axes), bias.dtype)


def affine_of(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """weight and bias[C], ones and zeros where they are None."""
    shape, dtype = (x.shape[1],), accumulation(x.dtype)
    return (
        ones(shape, dtype=dtype, device=x.device) if weight is None else weight,
        zeros(shape, dtype=dtype, device=x.device) if bias is None else bias,
    )


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    num_batches_tracked: Tensor | None = None,
) -> Tensor:
    """y = (x − mean) / √(variance + eps) · weight + bias for each channel, axis 1 of x[N,C,…].

    Training takes mean and (biased) variance over the batch, and moves the running values towards them in place:
    running = (1 − momentum) · running + momentum · new, with the unbiased variance. Otherwise the running values are
    used. Without running values the batch's are used in either mode.

    Args:
        running_mean, running_var, weight, bias: [C], or None.
        num_batches_tracked: s64 count of batches, for momentum None: then the running values are the average over all.
    """
    check_input("batch_norm", x.type)
    eps = as_eps("batch_norm", eps, may_be_zero=False)
    weight, bias = affine_of(x, weight, bias)
    if training or running_mean is None or running_var is None:
        if training and x.shape[0] * prod(x.shape[2:]) == 1:
            advice = "use a larger batch, or evaluation mode"
            raise ShapeError(expected("batch_norm", "more than one value per channel in training", str(x.type), advice))
        running = (running_mean, running_var) if training else (None, None)
        count = num_batches_tracked if momentum is None else None
        layer = BatchNormTraining(*running, momentum=momentum, num_batches=count, eps=eps)
        y: Tensor = layer(x, weight, bias)
        return y
    inverse_std = 1 / (cast(running_var, accumulation(running_var.dtype)) + eps).sqrt()
    return apply(NORMALIZE, x, running_mean, inverse_std, weight, bias)
