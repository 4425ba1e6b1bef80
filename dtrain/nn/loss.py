"""Losses as modules. `reduction` is mean, sum or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module


class _Loss(Module):
    """A loss of prediction and target without further settings."""

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return type(self).function(prediction, target, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """(prediction − target)²."""

    function = F.mse_loss


class L1Loss(_Loss):
    """|prediction − target|."""

    function = F.l1_loss


class BCELoss(_Loss):
    """−target·log p − (1 − target)·log(1 − p) for probabilities p."""

    function = F.binary_cross_entropy


class BCEWithLogitsLoss(_Loss):
    """`BCELoss` of sigmoid(logits), computed without overflow."""

    function = F.binary_cross_entropy_with_logits


class NLLLoss(_Loss):
    """−log_probabilities[target] for class numbers."""

    function = F.nll_loss


class SmoothL1Loss(Module):
    """Quadratic below beta, then linear (Girshick 2015)."""

    def __init__(self, beta: float = 1.0, *, reduction: str = "mean") -> None:
        self.beta, self.reduction = beta, reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(prediction, target, beta=self.beta, reduction=self.reduction)


class CrossEntropyLoss(Module):
    """−log softmax(logits)[target] for logits[N, C, …] and class numbers [N, …], or class probabilities.

    Args:
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        ignore_index: targets with this number count for nothing.
    """

    def __init__(
        self, *, label_smoothing: float = 0.0, ignore_index: int | None = None, reduction: str = "mean"
    ) -> None:
        self.label_smoothing, self.ignore_index, self.reduction = label_smoothing, ignore_index, reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            logits,
            target,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}, reduction={self.reduction!r}"
