"""Axes taken out, apart and together: `select`, `unflatten`, `ravel`, `meshgrid`."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.shape import broadcast_to, flatten, reshape, transpose
from dtrain.opset.infer import normalize_axis


def select(x: Tensor, axis: int, index: int) -> Tensor:
    """x without `axis`, at this place of it."""
    return x[(slice(None),) * normalize_axis("select", axis, x.ndim) + (index,)]


def unflatten(x: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """One axis taken apart into several of these sizes."""
    axis = normalize_axis("unflatten", axis, x.ndim)
    return reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def ravel(x: Tensor) -> Tensor:
    """All elements on one axis."""
    return flatten(x)


def numel(x: Tensor) -> int:
    """Number of elements: `x.size`."""
    return x.type.size


def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """One tensor for each vector, with its values along an axis of its own and repeated along the others.

    Args:
        indexing: "ij", or "xy" to exchange the first two axes.
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(expected("meshgrid", "indexing ij or xy", repr(indexing)))
    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    shape = tuple(vector.size for vector in vectors)
    grids = [
        broadcast_to(reshape(vector, tuple(-1 if i == axis else 1 for i in range(len(shape)))), shape)
        for axis, vector in enumerate(vectors)
    ]
    if indexing == "xy" and len(grids) > 1:
        return tuple(transpose(grid, 0, 1) for grid in grids)
    return tuple(grids)


install_methods({function.__name__: function for function in (select, unflatten, ravel, numel)})
