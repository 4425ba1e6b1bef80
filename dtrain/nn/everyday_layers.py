"""Layers and losses of everyday scripts around functions that other ops compose."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.activation import Elementwise
from dtrain.nn.containers import ModuleList
from dtrain.nn.loss import Loss
from dtrain.nn.module import Module


class Mish(Elementwise):
    """x · tanh(log(1 + eˣ)) (Misra 2019)."""

    function = F.mish


class SELU(Elementwise):
    """ELU, scaled to keep mean 0 and variance 1 (Klambauer et al. 2017)."""

    function = F.selu


class Softsign(Elementwise):
    """x / (1 + |x|)."""

    function = F.softsign


class Tanhshrink(Elementwise):
    """x − tanh x."""

    function = F.tanhshrink


class LogSigmoid(Elementwise):
    """log sigmoid(x), computed without overflow."""

    function = F.logsigmoid


class Hardtanh(Module):
    """x limited to [min_val, max_val]. The input never changes, whatever `inplace` says."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Tensor) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"{self.min_val}, {self.max_val}"


class CELU(Module):
    """x where x > 0, else alpha · (e^(x/alpha) − 1). The input never changes, whatever `inplace` says."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return F.celu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"{self.alpha}"


class GLU(Module):
    """First half of an axis · sigmoid of its second half (Dauphin et al. 2017)."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(x, self.axis)


class Softmin(Module):
    """`Softmax` of −x."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.softmin(x, self.axis)


class Unflatten(Module):
    """One axis taken apart into several."""

    def __init__(self, axis: int, sizes: Sequence[int]) -> None:
        self.axis, self.sizes = axis, tuple(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return F.unflatten(x, self.axis, self.sizes)


class CosineSimilarity(Module):
    """The cosine of the angle between two tensors along an axis."""

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        self.axis, self.eps = axis, eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a, b, self.axis, eps=self.eps)


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


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after another, and a norm behind them if given. Batches come first."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args, **options)
        return x if self.norm is None else self.norm(x)
