"""References of gather, scatter and one_hot along one axis. Index values are checked: a negative one is an error."""

from __future__ import annotations

from typing import Any

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.add_at import add_at
from dtrain.kernels.reference.check_range import check_range
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.reference.reduce_at import reduce_at
from dtrain.kernels.reference.write_at import write_at
from dtrain.kernels.registry import reference


def _key(index: Array, axis: int) -> tuple[Any, ...]:
    """An open mesh over the index's shape, with the index itself on `axis`."""
    xp = array_module(index)
    key = list(xp.ogrid[tuple(slice(size) for size in index.shape)]) if index.ndim > 1 else [index]
    key[axis] = index
    return tuple(key)


@reference("gather")
def gather(x: Array, index: Array, out: Array, *, axis: int) -> None:
    """out[i,j,k] = x[index[i,j,k], j, k] for axis 0."""
    check_range("gather", index, 0, x.shape[axis])
    out[...] = x[_key(index, axis)]


@reference("scatter")
def scatter(x: Array, index: Array, source: Array, out: Array, *, axis: int) -> None:
    """A copy of x with out[index[i,j,k], j, k] = source[i,j,k] for axis 0; the last writer wins."""
    check_range("scatter", index, 0, x.shape[axis])
    out[...] = x
    write_at(out, _key(index, axis), source)


@reference("scatter_add")
def scatter_add(x: Array, index: Array, source: Array, out: Array, *, axis: int) -> None:
    """A copy of x with source[i,j,k] added to out[index[i,j,k], j, k] for axis 0, in order."""
    check_range("scatter_add", index, 0, x.shape[axis])
    if accumulation_dtype(x.dtype) is x.dtype:
        out[...] = x
        add_at(out, _key(index, axis), source)
    else:
        total = widen(x)
        add_at(total, _key(index, axis), widen(source))
        store(out, total)


@reference("scatter_reduce")
def scatter_reduce(x: Array, index: Array, source: Array, out: Array, *, axis: int, reduce: str) -> None:
    """A copy of x with out[index[i,j,k], j, k] the product, or an extreme, of itself and all source[i,j,k]."""
    check_range("scatter_reduce", index, 0, x.shape[axis])
    total = out if accumulation_dtype(x.dtype) is x.dtype else widen(x).copy()
    if total is out:
        out[...] = x
    reduce_at(reduce, total, _key(index, axis), widen(source))
    if total is not out:
        store(out, total)


@reference("one_hot")
def one_hot(index: Array, out: Array, *, num_classes: int, dtype: Any) -> None:
    """out[..., c] = 1 where index is c, else 0."""
    check_range("one_hot", index, 0, num_classes)
    out[...] = index[..., None] == array_module(index).arange(num_classes)
