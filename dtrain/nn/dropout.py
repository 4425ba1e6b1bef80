"""Random zeros in training."""

from __future__ import annotations

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module


class Dropout(Module):
    """In training every element is zero with probability p, else divided by 1 − p; nothing happens in evaluation."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(expected("Dropout", "p in [0, 1]", str(p)))
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
