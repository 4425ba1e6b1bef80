"""Diagonals of two axes, and triangles of matrices, the last two axes of a tensor."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import arange, full
from dtrain.ops.indexing import TAKE
from dtrain.ops.infer import as_int, normalize_axis
from dtrain.ops.joining import pad
from dtrain.ops.shape import permute, reshape
from dtrain.ops.where import where


def _matrix(op: str, x: Tensor) -> tuple[int, int]:
    if x.ndim < 2:
        raise ShapeError(expected(op, "at least 2 axes", str(x.type)))
    return x.shape[-2], x.shape[-1]


def _offsets(op: str, x: Tensor) -> Tensor:
    """column − row for every place of the matrices of x: 0 on the diagonal, positive above it."""
    rows, columns = _matrix(op, x)
    return arange(columns, device=x.device) - reshape(arange(rows, device=x.device), (-1, 1))


def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """x with zeros above the given diagonal (0 the main one, positive ones above it)."""
    return where(_offsets("tril", x) <= as_int("tril", "diagonal", diagonal), x, _zero(x))


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """x with zeros below the given diagonal."""
    return where(_offsets("triu", x) >= as_int("triu", "diagonal", diagonal), x, _zero(x))


def _zero(x: Tensor) -> Tensor:
    return full((), 0, dtype=x.dtype, device=x.device)


def diagonal(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements whose place on `axis2` is their place on `axis1` plus `offset`, along a new last axis.

    >>> diagonal(arange(4).reshape(2, 2)).tolist()
    [0, 3]
    """
    first, second = normalize_axis("diagonal", axis1, x.ndim), normalize_axis("diagonal", axis2, x.ndim)
    if first == second:
        raise ShapeError(expected("diagonal", "two different axes", f"{axis1} and {axis2} of {x.type}"))
    if (first, second) != (x.ndim - 2, x.ndim - 1):
        x = permute(x, *(axis for axis in range(x.ndim) if axis not in (first, second)), first, second)
    rows, columns = x.shape[-2:]
    offset = as_int("diagonal", "offset", offset)
    first_row, first_column = max(-offset, 0), max(offset, 0)
    length = max(0, min(rows - first_row, columns - first_column))
    places = arange(length, device=x.device)
    return apply(TAKE, x, places + first_row, places + first_column, axes=(x.ndim - 2, x.ndim - 1))


def diag(x: Tensor, offset: int = 0) -> Tensor:
    """Of a vector, the matrix with it on a diagonal; of a matrix, that diagonal."""
    if x.ndim == 2:
        return diagonal(x, offset)
    if x.ndim != 1:
        raise ShapeError(expected("diag", "1 or 2 axes", str(x.type), "use diagonal"))
    size = x.size + abs(as_int("diag", "offset", offset))
    blank = full((size, size), 0, dtype=x.dtype, device=x.device)
    on_it = arange(size, device=x.device) - reshape(arange(size, device=x.device), (-1, 1)) == offset
    # Along the diagonal row i (or column i above it) holds element i.
    spread = reshape(pad(x, (0, size - x.size)), (1, -1) if offset < 0 else (-1, 1))
    return where(on_it, spread, blank)
