"""Diagonals of two axes, as a view, and triangles of matrices, the last two axes of a tensor."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import arange, full
from dtrain.graph.op import gradient_of
from dtrain.ops.cast import copy
from dtrain.ops.joining import pad
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.shape import reshape
from dtrain.ops.where import where
from dtrain.opset.diagonal import DIAGONAL, DIAGONAL_SCATTER, diagonal_shape
from dtrain.opset.infer import as_int, normalize_axis

Gradient = Tensor | None

# Triangles ------------------------------------------------------------------------------------------------------------


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


# Diagonals ------------------------------------------------------------------------------------------------------------


@gradient_of(DIAGONAL)
def _grad_diagonal(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    blank = full(node.inputs[0].shape, 0, dtype=grad.dtype, device=grad.device)
    return (apply(DIAGONAL_SCATTER, blank, grad, **node.attrs),)


@gradient_of(DIAGONAL_SCATTER)
def _grad_diagonal_scatter(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    nothing = full((), 0, dtype=grad.dtype, device=grad.device)
    dvalues = sum_to_shape(apply(DIAGONAL, grad, **node.attrs), node.inputs[1].shape) if node.needs_grad[1] else None
    return apply(DIAGONAL_SCATTER, grad, nothing, **node.attrs) if node.needs_grad[0] else None, dvalues


def _place(op: str, x: Tensor, offset: int, axis1: int, axis2: int) -> dict[str, Any]:
    """The attributes of a diagonal of x. Raises ShapeError unless the axes are two."""
    first, second = normalize_axis(op, axis1, x.ndim), normalize_axis(op, axis2, x.ndim)
    if first == second:
        raise ShapeError(expected(op, "two different axes", f"{axis1} and {axis2} of {x.type}"))
    return {"offset": as_int(op, "offset", offset), "axis1": first, "axis2": second}


def diagonal(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements whose place on `axis2` is their place on `axis1` plus `offset`, along a new last axis: a view.

    >>> diagonal(arange(4).reshape(2, 2)).tolist()
    [0, 3]
    """
    return apply(DIAGONAL, x, **_place("diagonal", x, offset, axis1, axis2))


def diagonal_scatter(x: Tensor, source: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """A copy of x with `source` in the place of a diagonal, whose shape it has; its dtype stays.

    >>> diagonal_scatter(zeros((2, 2)), ones(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    x, source = as_tensor(x), as_tensor(source)
    place = _place("diagonal_scatter", x, offset, axis1, axis2)
    wanted = diagonal_shape(x.shape, **place)
    if source.shape != wanted:
        raise ShapeError(expected("diagonal_scatter", f"a source of shape {wanted} for {x.type}", str(source.type)))
    return apply(DIAGONAL_SCATTER, x, cast(source, x.dtype), **place)


def diag(x: Tensor, offset: int = 0) -> Tensor:
    """Of a vector, the matrix with it on a diagonal; of a matrix, a copy of that diagonal."""
    if x.ndim == 2:
        return copy(diagonal(x, offset))
    if x.ndim != 1:
        raise ShapeError(expected("diag", "1 or 2 axes", str(x.type), "use diagonal"))
    size = x.size + abs(as_int("diag", "offset", offset))
    blank = full((size, size), 0, dtype=x.dtype, device=x.device)
    on_it = arange(size, device=x.device) - reshape(arange(size, device=x.device), (-1, 1)) == offset
    # Along the diagonal row i (or column i above it) holds element i.
    spread = reshape(pad(x, (0, size - x.size)), (1, -1) if offset < 0 else (-1, 1))
    return where(on_it, spread, blank)
