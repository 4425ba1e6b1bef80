"""Random zeros in training."""

from __future__ import annotations

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.base.spelling import expect_taken
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module


class Dropout(Module):
    """In training every element is zero with probability p, else divided by 1 − p; nothing happens in evaluation.

    `inplace` is taken for scripts that give it; the input never changes.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ValueError(expected(type(self).__name__, "p in [0, 1]", str(p)))
        self.p, self.inplace = p, inplace

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            expect_taken(type(self).__name__)
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training every channel of a sample of x[N, C, H, W] is zero with probability p, else divided by 1 − p."""

    def forward(self, x: Tensor) -> Tensor:
        if self.inplace:
            expect_taken(type(self).__name__)
        return F.dropout2d(x, self.p, training=self.training)
