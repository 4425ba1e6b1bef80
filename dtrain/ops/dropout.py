"""Dropout: random zeros, the rest scaled so that the expectation stays."""

from __future__ import annotations

from dtrain.base.errors import expected
from dtrain.core.random import Generator, default_generator
from dtrain.core.tensor import Tensor


def dropout(x: Tensor, p: float = 0.5, *, training: bool = True, generator: Generator | None = None) -> Tensor:
    """x with every element set to 0 with probability p and else divided by 1 − p; x itself when not training.

    The choice comes from `generator`, by default this thread's, so that it differs between ranks after `dt.seed`.
    """
    if not 0 <= p <= 1:
        raise ValueError(expected("dropout", "p in [0, 1]", str(p)))
    if not training or p == 0:
        return x
    mask = (generator or default_generator()).dropout_mask(x.shape, p, dtype=x.dtype, device=x.device)
    return x * mask
