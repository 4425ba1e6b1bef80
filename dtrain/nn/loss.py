"""Losses as modules. `reduction` is mean, sum or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module


class Loss(Module):
    """A loss of prediction and target without further settings."""

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return type(self).function(prediction, target, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(Loss):
    """(prediction − target)²."""

    function = F.mse_loss


class L1Loss(Loss):
    """|prediction − target|."""

    function = F.l1_loss


class BCELoss(Module):
    """−target·log p − (1 − target)·log(1 − p) for probabilities p.

    Args:
        weight: multiplies each loss; broadcasts. A buffer of the module.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        self.register_buffer("weight", weight)
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(prediction, target, weight=self.weight, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class BCEWithLogitsLoss(Module):
    """`BCELoss` of sigmoid(logits), exact for logits of any size.

    Args:
        weight: multiplies each loss; broadcasts.
        pos_weight: multiplies the term of the positive class; broadcasts. Both are buffers of the module.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class NLLLoss(Module):
    """−log_probabilities[target] for class numbers.

    Args:
        weight: [C], multiplies the loss of each class, and its share of the mean. A buffer of the module.
        ignore_index: targets with this number count for nothing.
    """

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int | None = None, reduction: str = "mean"
    ) -> None:
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            log_probabilities, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class SmoothL1Loss(Module):
    """Quadratic below beta, then linear (Girshick 2015)."""

    def __init__(self, beta: float = 1.0, *, reduction: str = "mean") -> None:
        self.beta, self.reduction = beta, reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(prediction, target, beta=self.beta, reduction=self.reduction)


class CrossEntropyLoss(Module):
    """−log softmax(logits)[target] for logits[N, C, …] and class numbers [N, …], or class probabilities.

    Args:
        weight: [C], multiplies the terms of each class, and its share of the mean. A buffer of the module.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        ignore_index: targets with this number count for nothing.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        self.register_buffer("weight", weight)
        self.label_smoothing, self.ignore_index, self.reduction = label_smoothing, ignore_index, reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            logits,
            target,
            weight=self.weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}, reduction={self.reduction!r}"


class HuberLoss(Loss):
    """Quadratic below delta, then linear with slope delta (Huber 1964)."""

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(prediction, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(Loss):
    """target · (log target − prediction), with log-probabilities predicted; see `F.kl_div`."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.log_target = log_target

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(prediction, target, reduction=self.reduction, log_target=self.log_target)


class TripletMarginLoss(Module):
    """max(0, |anchor − positive|ₚ − |anchor − negative|ₚ + margin) over the last axis.

    Args:
        swap: take |positive − negative| instead of |anchor − negative| where it is smaller.
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, *, reduction: str = "mean"
    ) -> None:
        self.margin, self.p, self.eps, self.swap, self.reduction = margin, p, eps, swap, reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            anchor, positive, negative,
            margin=self.margin, p=self.p, eps=self.eps, swap=self.swap, reduction=self.reduction,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"margin={self.margin}, p={self.p}, reduction={self.reduction!r}"


class MarginRankingLoss(Module):
    """max(0, −target·(a − b) + margin): a shall rank above b where target is 1, below where it is −1."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        self.margin, self.reduction = margin, reduction

    def forward(self, a: Tensor, b: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(a, b, target, margin=self.margin, reduction=self.reduction)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, reduction={self.reduction!r}"
