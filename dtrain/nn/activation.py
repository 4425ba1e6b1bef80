"""Activation functions as modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import dtrain.functional as F
from dtrain.base.spelling import expect_taken
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import full
from dtrain.nn.module import Module
from dtrain.opset.infer import as_axis


class Elementwise(Module):
    """A function without settings. `inplace` is taken for scripts that give it; the input never changes."""

    function: ClassVar[Callable[[Tensor], Tensor]]
    inplace: bool = False

    def __init__(self, inplace: bool = False) -> None:
        if inplace:
            self.inplace = True

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            expect_taken(type(self).__name__)
        return type(self).function(x)


class ReLU(Elementwise):
    """max(x, 0)."""

    function = F.relu


class ReLU6(Elementwise):
    """min(max(x, 0), 6)."""

    function = F.relu6


class Sigmoid(Elementwise):
    """1 / (1 + e⁻ˣ)."""

    function = F.sigmoid


class Tanh(Elementwise):
    """tanh x."""

    function = F.tanh


class SiLU(Elementwise):
    """x · sigmoid(x)."""

    function = F.silu


class Hardswish(Elementwise):
    """x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""

    function = F.hswish


class Hardsigmoid(Elementwise):
    """min(max(x + 3, 0), 6) / 6."""

    function = F.hsigmoid


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            expect_taken("LeakyReLU")
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope}"


class ELU(Module):
    """x where x > 0, else alpha · (eˣ − 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha, self.inplace = alpha, inplace

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            expect_taken("ELU")
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"{self.alpha}"


class GELU(Module):
    """x · Φ(x), exactly or by tanh (Hendrycks, Gimpel 2016).

    Args:
        approximate: "none" or "tanh".
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + e^(beta·x)) / beta; x itself where beta·x is above a `threshold`, if one is given."""

    def __init__(self, beta: float = 1.0, threshold: float | None = None) -> None:
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"{self.beta}" if self.threshold is None else f"{self.beta}, {self.threshold}"


class PReLU(Module):
    """x where x > 0, else weight · x, with one trained slope or one for each channel (He et al. 2015)."""

    def __init__(self, num_parameters: int = 1, initial: float = 0.25) -> None:
        self.weight = Parameter(full((num_parameters,), float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.weight.size}"


class _AlongAxis(Module):
    """A function along one axis, which is checked where the module is made."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = as_axis(type(self).__name__, axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmax(_AlongAxis):
    """Numbers that are positive and add up to 1 along an axis."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.axis)


class LogSoftmax(_AlongAxis):
    """The logarithm of softmax, computed without overflow."""

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(x, self.axis)


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


class GLU(_AlongAxis):
    """First half of an axis · sigmoid of its second half (Dauphin et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(x, self.axis)


class Softmin(_AlongAxis):
    """`Softmax` of −x."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmin(x, self.axis)
