"""References of sorting and of the ops whose output size depends on values."""

from __future__ import annotations

from numpy import ndindex

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import widen
from dtrain.kernels.registry import reference


def stable_order(x: Array, axis: int, descending: bool) -> Array:
    """Positions in ascending or descending order, equal elements in the order of x; NaN is the largest."""
    xp = array_module(x)
    if not descending:
        return xp.argsort(widen(x), axis=axis, kind="stable")
    # Sorting the reversed array upwards and reversing the result keeps equal elements in order.
    reverse = xp.argsort(widen(xp.flip(x, axis)), axis=axis, kind="stable")
    return x.shape[axis] - 1 - xp.flip(reverse, axis)


@reference("sort")
def sort(x: Array, out: tuple[Array, Array], *, axis: int, descending: bool) -> None:
    """Values in order along `axis`, and where each was."""
    values, indices = out
    indices[...] = stable_order(x, axis, descending)
    values[...] = array_module(x).take_along_axis(x, indices, axis=axis)


@reference("topk")
def topk(x: Array, out: tuple[Array, Array], *, k: int, axis: int, largest: bool, sorted: bool) -> None:
    """The first k of the order; by position where they need not be sorted."""
    xp = array_module(x)
    values, indices = out
    chosen = xp.take(stable_order(x, axis, largest), xp.arange(k), axis=axis)
    indices[...] = chosen if sorted else xp.sort(chosen, axis=axis)
    values[...] = xp.take_along_axis(x, indices, axis=axis)


@reference("nonzero")
def nonzero(x: Array) -> Array:
    """Positions [count, ndim] of the elements that are not 0, in order."""
    return array_module(x).argwhere(x).astype("int64", copy=False)


@reference("unique")
def unique(x: Array, *, axis: int | None = None) -> tuple[Array, Array, Array]:
    """Different elements (or slices along `axis`) in order, the place of each among them, and how often it occurs."""
    xp = array_module(x)
    shape = x.shape if axis is None else (x.shape[axis],)
    values, inverse, counts = xp.unique(widen(x), return_inverse=True, return_counts=True, axis=axis)
    return values.astype(x.dtype), inverse.reshape(shape).astype("int64"), counts.astype("int64")


@reference("searchsorted")
def searchsorted(sorted_values: Array, x: Array, out: Array, *, right: bool) -> None:
    """Where each x belongs in its ascending row."""
    xp, side = array_module(x), "right" if right else "left"
    rows, wanted = widen(sorted_values), widen(x)
    if rows.ndim == 1:
        out[...] = xp.searchsorted(rows, wanted, side=side)
        return
    for row in ndindex(rows.shape[:-1]):
        out[row] = xp.searchsorted(rows[row], wanted[row], side=side)
