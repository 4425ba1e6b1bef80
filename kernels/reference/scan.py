"""Positions of extrema, and running sums and products, which floats add up in f64.

A running sum is one chain of roundings: in f32 its end would be off by 10⁻⁴ after ten million elements, where `sum`,
which adds in pairs, is off by 10⁻⁷.
"""

from __future__ import annotations

import numpy as np

from dtrain.kernels.array_module import Array
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference


@reference("argmax")
def argmax(x: Array, out: Array, *, axis: int | None, keepdims: bool) -> None:
    """The first of the largest x; the first NaN, if there is one."""
    out[...] = widen(x).argmax(axis=axis).reshape(out.shape)


@reference("argmin")
def argmin(x: Array, out: Array, *, axis: int | None, keepdims: bool) -> None:
    """The first of the smallest x; the first NaN, if there is one."""
    out[...] = widen(x).argmin(axis=axis).reshape(out.shape)


@reference("cumsum")
def cumsum(x: Array, out: Array, *, axis: int, reverse: bool) -> None:
    """out[i] = x[0] + … + x[i], or x[i] + … + x[last] in reverse."""
    order = tuple(slice(None, None, -1) if reverse and i == axis else slice(None) for i in range(x.ndim))
    store(out, widen(x)[order].cumsum(axis=axis, dtype=_running_dtype(out.dtype))[order])


@reference("cumprod")
def cumprod(x: Array, out: Array, *, axis: int) -> None:
    """out[i] = x[0] · … · x[i]."""
    store(out, widen(x).cumprod(axis=axis, dtype=_running_dtype(out.dtype)))


def _running_dtype(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind in "biu" else np.dtype(np.float64)  # bfloat16 is void to NumPy
