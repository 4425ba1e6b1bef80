"""Element-wise reading and writing along one axis: gather, scatter, scatter_add, one_hot.

Rules of all: as many axes in each, index values in [0, size of the axis). Repeated targets are written in order, so
the last writer wins and sums always round alike.
"""

from __future__ import annotations

from typing import Any, Literal

from dtrain.base.dtype import DTypeLike, as_dtype, int64
from dtrain.base.errors import expected
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import arange, full, full_like, zeros
from dtrain.graph.op import Op, get_op, gradient_of
from dtrain.ops.one_element import as_vector
from dtrain.ops.shape import broadcast_to, reshape
from dtrain.ops.value_checks import in_range
from dtrain.ops.where import where
from dtrain.opset.gather_scatter import GATHER, ONE_HOT, SCATTER, SCATTER_ADD, check_index, infer_one_hot
from dtrain.opset.infer import as_int, broadcast_shapes, normalize_axis

Gradient = Tensor | None


# Gather ---------------------------------------------------------------------------------------------------------------


@gradient_of(GATHER)
def _grad_gather(node: TapeNode, grad: Tensor) -> tuple[Tensor, None]:
    x, index = node.inputs
    nothing = zeros(x.shape, dtype=grad.dtype, device=grad.device)
    return apply(SCATTER_ADD, nothing, index, grad, axis=node.attrs["axis"]), None


def gather(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """Pick along one axis: out[i,j,k] = x[index[i,j,k], j, k] for axis 0, and so on.

    Args:
        index: integers, as many axes as x, no larger than x on the other axes; the result has its shape.

    >>> gather(tensor([[1, 2], [3, 4]]), 1, tensor([[0], [1]])).tolist()
    [[1], [4]]
    """
    x, index = as_vector(as_tensor(x)), as_tensor(index)
    picked = apply(GATHER, x, as_vector(index), axis=normalize_axis("gather", axis, x.ndim))
    return picked if index.ndim else reshape(picked, ())


def take_along_axis(x: Tensor, indices: Tensor, axis: int | None = -1) -> Tensor:
    """NumPy's `take_along_axis`: `gather` with other axes broadcast, and negative indices from the end.

    Without an axis both are flattened.

    >>> take_along_axis(tensor([[1, 2, 3], [4, 5, 6]]), tensor([[-1]]), 1).tolist()
    [[3], [6]]
    """
    x, indices = as_tensor(x), as_tensor(indices)
    if axis is None:
        x, indices, axis = reshape(x, (x.size,)), reshape(indices, (indices.size,)), 0
    axis = normalize_axis("take_along_axis", axis, x.ndim)
    check_index("take_along_axis", x.type, indices.type, axis)
    before, size = slice(axis), x.shape[axis]
    others = broadcast_shapes("take_along_axis", *((*t.shape[before], *t.shape[axis + 1 :]) for t in (x, indices)))
    x = broadcast_to(x, (*others[before], size, *others[axis:]))
    indices = broadcast_to(indices, (*others[before], indices.shape[axis], *others[axis:]))
    indices = in_range(indices, size, low=-size, where="take_along_axis", what="indices")
    return apply(GATHER, x, where(indices < 0, indices + size, indices), axis=axis)


def take_along_dim(x: Tensor, indices: Tensor, axis: int | None = None) -> Tensor:
    """`take_along_axis` with PyTorch's default: both are flattened unless an axis is given."""
    return take_along_axis(x, indices, axis)


# Scatter --------------------------------------------------------------------------------------------------------------


@gradient_of(SCATTER)
def _grad_scatter(node: TapeNode, grad: Tensor) -> tuple[Gradient, None, Gradient]:
    x, index, source = node.inputs
    axis = node.attrs["axis"]
    nothing = full_like(source.type, 0)
    return (
        apply(SCATTER, grad, index, nothing, axis=axis) if node.needs_grad[0] else None,
        None,
        apply(GATHER, grad, index, axis=axis) * _last_writers(x, index, source, axis) if node.needs_grad[2] else None,
    )


def _last_writers(x: Tensor, index: Tensor, source: Tensor, axis: int) -> Tensor:
    """1 where a source element remained, 0 where a later one overwrote it."""
    numbers = reshape(arange(source.size, device=source.device), source.shape)
    blank = full(x.shape, -1, dtype=int64, device=x.device)
    final = apply(SCATTER, blank, index, numbers, axis=axis)
    return cast(apply(GATHER, final, index, axis=axis) == numbers, source.dtype)


def scatter(
    x: Tensor, axis: int, index: Tensor, source: Tensor | float, *, reduce: Literal["add", "multiply"] | None = None
) -> Tensor:
    """A copy of x with out[index[i,j,k], j, k] = source[i,j,k] for axis 0, and so on.

    Where places repeat the last writer wins, and only its gradient flows.

    Args:
        index: integers in [0, x.shape[axis]), of the shape of `source`, as many axes as x.
        source: no larger than x on any axis, or one number for all.
        reduce: "add" or "multiply" to combine them with what is there, as `scatter_add` and `scatter_reduce` do.

    Raises:
        ValueError: if one of these does not hold.
    """
    if reduce not in (None, "add", "multiply"):
        raise ValueError(expected("scatter", "reduce 'add', 'multiply' or None", repr(reduce), "write scatter_reduce"))
    x, index = as_tensor(x), as_vector(as_tensor(index))
    if isinstance(source, int | float):
        source = full(index.shape, source, dtype=x.dtype, device=x.device)
    if reduce == "multiply":
        return _scatter("scatter", get_op("scatter_reduce"), x, axis, index, as_tensor(source), reduce="prod")
    return _scatter("scatter", SCATTER if reduce is None else SCATTER_ADD, x, axis, index, as_tensor(source))


@gradient_of(SCATTER_ADD)
def _grad_scatter_add(node: TapeNode, grad: Tensor) -> tuple[Gradient, None, Gradient]:
    index = node.inputs[1]
    return grad, None, apply(GATHER, grad, index, axis=node.attrs["axis"]) if node.needs_grad[2] else None


def scatter_add(x: Tensor, axis: int, index: Tensor, source: Tensor) -> Tensor:
    """`scatter` that adds instead of overwriting, in the order of `source`, which may be longer than x on `axis`."""
    return _scatter("scatter_add", SCATTER_ADD, as_tensor(x), axis, as_tensor(index), as_tensor(source))


def _scatter(name: str, op: Op, x: Tensor, axis: int, index: Tensor, source: Tensor, **attrs: Any) -> Tensor:
    """The op on tensors with axes; one without counts as a vector."""
    vector = as_vector(x)
    attrs["axis"] = normalize_axis(name, axis, vector.ndim)
    written = apply(op, vector, as_vector(index), as_vector(source), **attrs)
    return written if x.ndim else reshape(written, ())


# One hot --------------------------------------------------------------------------------------------------------------


def one_hot(index: Tensor, num_classes: int = -1, *, dtype: DTypeLike = int64) -> Tensor:
    """Rows of zeros with a one at the class number: [..., num_classes]. Raises ValueError for a number out of range.

    Args:
        num_classes: -1 for as many as the largest number asks for. Eager only, since the shape depends on it.
    """
    index = as_tensor(index)
    count = as_int("one_hot", "num_classes", num_classes, -1)
    if count == -1:
        infer_one_hot(index.type, num_classes=0, dtype=int64)
        if not index.type.size:
            raise ValueError(expected("one_hot", "num_classes where there is no class number", str(index.type)))
        count = int(index.detach().numpy().max()) + 1
    return apply(ONE_HOT, index, num_classes=count, dtype=as_dtype(dtype))


install_methods({"gather": gather})
