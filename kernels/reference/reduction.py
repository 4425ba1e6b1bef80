"""Reductions over axes. f16 and bf16 add up in f32 and are rounded once; integers add up in s64."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.registry import reference

Axes = tuple[int, ...]
Shape = tuple[int, ...]


@reference("sum")
def sum(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """Σ x over `axis`."""
    if accumulation_dtype(out.dtype) is out.dtype:
        x.sum(axis=axis, dtype=out.dtype, keepdims=keepdims, out=out)
    else:
        store(out, widen(x).sum(axis=axis, keepdims=keepdims))


@lru_cache(maxsize=4096)
def _broadcast_axes(wide: Shape, narrow: Shape) -> tuple[Axes, bool]:
    """The axes along which `narrow` was broadcast to `wide`, and whether some of them have size 1 in `narrow`."""
    missing = len(wide) - len(narrow)
    stretched = [missing + i for i, size in enumerate(narrow) if size == 1 and wide[missing + i] != 1]
    return (*range(missing), *stretched), bool(stretched)


@reference("sum_to_shape")
def sum_to_shape(x: Array, out: Array, *, shape: Shape) -> None:
    """Σ x over the axes along which `shape` was broadcast."""
    axis, has_stretched = _broadcast_axes(x.shape, shape)
    if has_stretched:
        store(out, widen(x).sum(axis=axis, keepdims=True).reshape(shape))
    else:
        sum(x, out, axis=axis, keepdims=False)


@reference("mean")
def mean(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """Σ x over `axis`, divided by how many there are; NaN where there are none."""
    if x.size == 0:
        out.fill(float("nan"))
        return
    count = x.size // out.size
    if accumulation_dtype(out.dtype) is out.dtype:
        x.sum(axis=axis, keepdims=keepdims, out=out)
        np.divide(out, out.dtype.type(count), out=out)
    else:
        store(out, widen(x).sum(axis=axis, keepdims=keepdims) / np.float32(count))


@reference("prod")
def prod(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """Π x over `axis`."""
    wide = widen(x)
    dtype = wide.dtype if out.dtype.kind not in "iu" else out.dtype
    store(out, array_module(x).prod(wide, axis=axis, dtype=dtype, keepdims=keepdims))


@reference("prod_of_others")
def prod_of_others(x: Array, out: Array, *, axis: Axes) -> None:
    """out[i] = Π over `axis` of every x but x[i], through products of what lies before and after."""
    xp = array_module(x)
    kept = tuple(i for i in range(x.ndim) if i not in axis)
    moved = widen(x).transpose(*kept, *axis)
    rows = moved.reshape(-1, moved[(0,) * len(kept)].size if moved.size else 1)
    before, after = xp.ones_like(rows), xp.ones_like(rows)
    before[:, 1:] = xp.cumprod(rows[:, :-1], axis=1)
    after[:, :-1] = xp.cumprod(rows[:, :0:-1], axis=1)[:, ::-1]
    store(out.transpose(*kept, *axis), (before * after).reshape(moved.shape))


@reference("max")
def max_(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """The largest x over `axis`; a NaN wins."""
    x.max(axis=axis, keepdims=keepdims, out=out)


@reference("min")
def min_(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """The smallest x over `axis`; a NaN wins."""
    # CuPy 14 hands `out` to CUB in the place of the dtype where it reduces minima.
    out[...] = x.min(axis=axis, keepdims=keepdims)


@reference("any")
def any_(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """Whether any x over `axis` is not zero."""
    (x != 0).any(axis=axis, keepdims=keepdims, out=out)


@reference("all")
def all_(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """Whether every x over `axis` is not zero."""
    (x != 0).all(axis=axis, keepdims=keepdims, out=out)


@reference("logsumexp")
def logsumexp(x: Array, out: Array, *, axis: Axes, keepdims: bool) -> None:
    """max + log Σ exp(x − max); an infinite maximum is the result itself."""
    xp = array_module(x)
    wide = widen(x)
    largest = wide.max(axis=axis, keepdims=True)
    # −inf − (−inf) would be NaN.
    offset = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
    total = xp.exp(wide - offset).sum(axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        logarithm = xp.log(total) + offset
    store(out, logarithm.reshape(out.shape))
