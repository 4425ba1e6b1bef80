"""Arrays from nothing: full, eye, arange, linspace. Numbers are computed in f64 (s64 for integers) and rounded once."""

from __future__ import annotations

from typing import Any

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.registry import reference


@reference("full")
def full(out: Array, *, value: float, **facts: Any) -> None:
    """Every element is `value`."""
    out.fill(value)


@reference("eye")
def eye(out: Array, *, n: int, m: int, **facts: Any) -> None:
    """Ones on the main diagonal, zeros elsewhere."""
    out[...] = array_module(out).eye(n, m, dtype=out.dtype)


@reference("arange")
def arange(out: Array, *, start: float, step: float, **facts: Any) -> None:
    """out[i] = start + i·step."""
    xp = array_module(out)
    out[...] = (start + xp.arange(out.shape[0]) * step).astype(out.dtype)


@reference("linspace")
def linspace(out: Array, *, start: float, stop: float, num: int, **facts: Any) -> None:
    """`num` evenly spaced numbers, both ends included."""
    out[...] = array_module(out).linspace(start, stop, num).astype(out.dtype)
