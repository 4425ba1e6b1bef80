"""Distances between vectors: of rows to rows of another tensor, and of all pairs."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.precision import rounded_once
from dtrain.ops.shape import unsqueeze
from dtrain.ops.statistics import norm


@rounded_once
def cdist(a: Tensor, b: Tensor, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows: [..., P, M] and [..., R, M] give [..., P, R].

    (Σ |a − b|^p)^(1/p); p may be ∞ or 0 (how many differ). The gradient at distance 0 is 0.
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ShapeError(expected("cdist", "rows of one length, [..., P, M] and [..., R, M]", f"{a.type} and {b.type}"))
    _check_order("cdist", p)
    return norm(unsqueeze(a, -2) - unsqueeze(b, -3), p, -1)


@rounded_once
def pairwise_distance(a: Tensor, b: Tensor, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Tensor:
    """(Σ |a − b + eps|^p)^(1/p) along the last axis: [..., M] and [..., M] give [...]; both broadcast."""
    a, b = as_tensor(a), as_tensor(b)
    return norm(a - b + eps, p, -1, keepdims=keepdims)


def _check_order(where: str, p: float) -> None:
    if not isinstance(p, int | float) or not p >= 0:
        raise ValueError(expected(where, "p of at least 0", repr(p)))
