"""Mesh indexing: every axis has its own index vector or slice, and the result is their outer product.

mesh_get(x, (i, j))[a, b] = x[i[a], j[b]], where x[i, j] would zip i and j. With `is_batched`, axis 0 counts samples
and each vector is one per sample, index[N,k]: mesh_get(x, (i,), is_batched=True)[n, a] = x[n, i[n, a]].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtrain.base.dtype import int64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import arange
from dtrain.ops.index_put import add_item, set_item
from dtrain.ops.indexing import get_item
from dtrain.ops.shape import reshape


def mesh_get(x: Tensor, index: Sequence[Any], *, is_batched: bool = False) -> Tensor:
    """The elements of x where the entries of `index` cross; its axes come first, then those that it leaves out.

    Args:
        index: for each of the first axes (of each sample) a vector of integers, which may be negative or repeat, or a
            slice.

    >>> mesh_get(arange(6).reshape(2, 3), ([1, 0], [0, 2])).tolist()
    [[3, 5], [0, 2]]
    """
    return get_item(x, _mesh(x, index, is_batched))


def mesh_set(x: Tensor, index: Sequence[Any], values: Any, *, is_batched: bool = False) -> Tensor:
    """A copy of x with `values`, which broadcast to the mesh, written there; the last value wins."""
    return set_item(x, _mesh(x, index, is_batched), values)


def mesh_add(x: Tensor, index: Sequence[Any], values: Any, *, is_batched: bool = False) -> Tensor:
    """A copy of x with `values`, which broadcast to the mesh, added there; repeated places add up."""
    return add_item(x, _mesh(x, index, is_batched), values)


def _mesh(x: Tensor, index: Sequence[Any], is_batched: bool) -> tuple[Any, ...]:
    """The index as slices where there are only slices, else as vectors that broadcast against each other."""
    entries = [entry if isinstance(entry, slice) else as_tensor(entry, device=x.device) for entry in index]
    if is_batched:
        entries.insert(0, slice(None))
    if len(entries) > x.ndim:
        raise ShapeError(expected("mesh index", f"at most {x.ndim - is_batched} entries for {x.type}", f"{len(index)}"))
    if all(isinstance(entry, slice) for entry in entries):
        return tuple(entries)
    return tuple(_crossing(x, entry, axis, len(entries), is_batched) for axis, entry in enumerate(entries))


def _crossing(x: Tensor, entry: Any, axis: int, num_axes: int, is_batched: bool) -> Tensor:
    """The entry of one axis as a tensor that lies along that axis of the mesh (and along the batch)."""
    shape = [1] * num_axes
    if isinstance(entry, slice):
        start, stop, step = entry.indices(x.shape[axis])
        positions = arange(start, stop, step, dtype=int64, device=x.device)
        shape[axis] = positions.size
        return reshape(positions, tuple(shape))
    wanted = 2 if is_batched else 1
    if entry.ndim != wanted or (is_batched and entry.shape[0] != x.shape[0]):
        kind = f"integers of shape ({x.shape[0]}, k)" if is_batched else "a vector of integers"
        raise ShapeError(expected("mesh index", f"{kind} or a slice for axis {axis} of {x.type}", str(entry.type)))
    if is_batched:
        shape[0] = entry.shape[0]
    shape[axis] = entry.shape[-1]
    return reshape(entry, tuple(shape))
