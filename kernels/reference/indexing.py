"""References of reading and writing by index. Repeated places are written in index order, so the last value stays."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.device_arrays import diagonal_of
from dtrain.kernels.reference.add_at import add_at
from dtrain.kernels.reference.check_range import check_range
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.reference.write_at import write_at
from dtrain.kernels.registry import reference
from dtrain.kernels.views import as_key

BasicIndex = tuple[Any, ...]
Axes = tuple[int, ...]


Kernel = Callable[..., None]


def _check_places(op: str, shape: tuple[int, ...], indices: tuple[Array, ...], axes: Axes) -> None:
    """Raise IndexError for an index outside of its axis: now, or when a GPU is next waited for."""
    for axis, index in zip(axes, indices):
        if index.size and index.dtype.kind != "b":
            size = shape[axis]
            wanted = f"index values from {-size} to {size - 1} for axis {axis} of size {size}"
            check_range(op, index, -size, size, wanted=wanted, error=IndexError)


def _checks_places(kernel: Kernel) -> Kernel:
    """CuPy wraps what NumPy refuses, so a GPU checks before; the host looks only for words for what NumPy refused."""

    @wraps(kernel)
    def run(x: Array, *arrays: Array, out: Array, axes: Axes, **attrs: Any) -> None:
        indices, shape = arrays[len(arrays) - len(axes) :], attrs.get("input_shape", x.shape)
        if array_module(x) is not np:
            _check_places(kernel.__name__, shape, indices, axes)
        try:
            kernel(x, *arrays, out=out, axes=axes, **attrs)
        except IndexError:
            _check_places(kernel.__name__, shape, indices, axes)
            raise

    return run


def _array_key(indices: tuple[Array, ...], axes: Axes) -> tuple[Any, ...]:
    """The indices at their axes, full slices before and between them."""
    key: list[Any] = [slice(None)] * (axes[-1] + 1)
    for axis, index in zip(axes, indices):
        key[axis] = index
    return tuple(key)


@reference("get_item_backward")
def get_item_backward(grad: Array, out: Array, *, input_shape: tuple[int, ...], index: BasicIndex) -> None:
    """Zeros with the gradient at the index."""
    out[...] = 0
    out[as_key(index)] = grad


@reference("set_item")
def set_item(x: Array, values: Array, out: Array, *, index: BasicIndex) -> None:
    """A copy of x with `values` at the index."""
    out[...] = x
    out[as_key(index)] = values


@reference("diagonal_scatter")
def diagonal_scatter(x: Array, values: Array, out: Array, *, offset: int, axis1: int, axis2: int) -> None:
    """A copy of x with `values` on a diagonal."""
    out[...] = x
    diagonal_of(out, offset=offset, axis1=axis1, axis2=axis2)[...] = values


@reference("take")
@_checks_places
def take(x: Array, *indices: Array, out: Array, axes: Axes) -> None:
    """x at the broadcast indices of these axes. Raises IndexError for one out of range."""
    if len(axes) == 1:
        out[...] = array_module(x).take(x, indices[0], axis=axes[0])
    else:
        out[...] = x[_array_key(indices, axes)]


def _add_rows(total: Array, index: Array, rows: Array) -> None:
    """total[index[i]] += rows[i]. The order of a place's sum depends only on its own rows, so runs repeat bitwise."""
    xp = array_module(total)
    if xp.__name__ != "numpy" or not index.size or rows.ndim == 1:
        add_at(total, index, rows)
        return
    # ufunc.at is slow on rows: bring equal places together, then reduce each run.
    place = index
    if index.min() < 0:
        if index.min() < -total.shape[0] or index.max() >= total.shape[0]:
            raise IndexError
        place = index % total.shape[0]
    order = place.argsort(kind="stable")
    place = place[order]
    starts = xp.flatnonzero(xp.concatenate(([True], place[1:] != place[:-1])))
    total[place[starts]] += xp.add.reduceat(rows[order], starts, axis=0)


@reference("take_backward")
@_checks_places
def take_backward(grad: Array, *indices: Array, out: Array, input_shape: tuple[int, ...], axes: Axes) -> None:
    """Zeros to which the gradient is added at the places it was taken from."""
    total = out if accumulation_dtype(out.dtype) is out.dtype else widen(out)
    total[...] = 0
    if axes == (0,) and len(indices) == 1:
        _add_rows(total, indices[0].reshape(-1), widen(grad).reshape(indices[0].size, *input_shape[1:]))
    else:
        add_at(total, _array_key(indices, axes), widen(grad))
    if total is not out:
        store(out, total)


@reference("index_put")
@_checks_places
def index_put(x: Array, values: Array, *indices: Array, out: Array, axes: Axes, accumulate: bool) -> None:
    """A copy of x with `values` written, or added, at the indices."""
    key = _array_key(indices, axes)
    if not accumulate:
        out[...] = x
        write_at(out, key, values)
        return
    total = widen(x).copy() if accumulation_dtype(x.dtype) is not x.dtype else out
    if total is out:
        out[...] = x
    add_at(total, key, widen(values))
    if total is not out:
        store(out, total)
