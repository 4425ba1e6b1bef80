"""Dropout: random zeros, the rest scaled so that the expectation stays."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
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


def dropout2d(x: Tensor, p: float = 0.5, *, training: bool = True, generator: Generator | None = None) -> Tensor:
    """x[N, C, …] with whole channels of a sample set to 0 with probability p, the others divided by 1 − p."""
    if not 0 <= p <= 1:
        raise ValueError(expected("dropout2d", "p in [0, 1]", str(p)))
    if x.ndim < 3:
        raise ShapeError(expected("dropout2d", "x[N, C, H, W], or [C, H, W] of one sample", str(x.type)))
    if not training or p == 0:
        return x
    shape = (*x.shape[: 1 if x.ndim == 3 else 2], *(1 for _ in x.shape[1 if x.ndim == 3 else 2 :]))
    mask = (generator or default_generator()).dropout_mask(shape, p, dtype=x.dtype, device=x.device)
    return x * mask
