"""Ops that rearrange axes and share memory: reshape, transpose, broadcast_to, and what follows from them.

This family stands below the others (only `infer` is under it), since their gradients reshape and transpose.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any, cast

from dtrain.base.dtype import DType
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply
from dtrain.core.context import context
from dtrain.core.strides import shares_memory
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import get_op, gradient_of
from dtrain.kernels.views import merges_axes
from dtrain.opset.infer import normalize_axes, normalize_axis
from dtrain.opset.shape import BROADCAST_TO, RESHAPE, TRANSPOSE

Axes = int | Sequence[int]


def as_sizes(values: tuple[Any, ...]) -> tuple[int, ...]:
    """The ints of `f(2, 3)`, `f((2, 3))` or `f([2, 3])` alike."""
    given = values[0] if len(values) == 1 and isinstance(values[0], tuple | list) else values
    return tuple(operator.index(value) for value in given)


# Reshape --------------------------------------------------------------------------------------------------------------


@gradient_of(RESHAPE)
def _grad_reshape(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (reshape(grad, node.inputs[0].shape),)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The same elements, in order, with another shape; one size may be -1 and is worked out.

    >>> reshape(arange(6), (2, -1)).shape
    (2, 3)
    """
    sizes = as_sizes(shape)
    if -1 in sizes or (sizes and min(sizes) < 0):
        sizes = _fill_in(x, sizes)
    return apply(RESHAPE, x, shape=sizes)


def _fill_in(x: Tensor, sizes: Shape) -> Shape:
    known = prod(size for size in sizes if size != -1)
    if sizes.count(-1) != 1 or min(sizes) < -1 or known == 0 or x.type.size % known:
        wanted = f"sizes whose product is {x.size}, at most one of them -1"
        raise ShapeError(expected("reshape", wanted, f"{sizes} for {x.type}"))
    return tuple(x.type.size // known if size == -1 else size for size in sizes)


def view(x: Tensor, *shape: Any) -> Tensor:
    """`reshape` that never copies: what is written into the result stands in x.

    Raises:
        ShapeError: the elements of x do not lie in an order that the shape could show (as after a transpose).
    """
    if any(isinstance(size, str | DType) for size in shape):
        raise TypeError(expected("x.view()", "sizes", str(shape[0]), "write x.to(dtype) for other numbers"))
    shown = reshape(x, *shape)
    if context.tracer is not None and merges_axes(x.shape, shown.shape):
        context.tracer.strides.rely_on(x)
    if shown is not x and x.size and not shares_memory(shown, x):
        given = f"{x.type}, whose elements lie in another order, for {shown.shape}"
        advice = "write x.reshape(…), which copies, or x.contiguous().view(…)"
        raise ShapeError(expected("x.view()", "a tensor whose elements lie in the order of its axes", given, advice))
    return shown


def flatten(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """Merge the axes from `start_axis` to `end_axis`, both included; a 0-d tensor becomes one of a single element."""
    if x.ndim == 0:
        return reshape(x, (1,))
    start, end = (normalize_axis("flatten", axis, x.ndim) for axis in (start_axis, end_axis))
    if start > end:
        raise ShapeError(expected("flatten", "start_axis not after end_axis", f"{start_axis} and {end_axis}"))
    return reshape(x, (*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def unsqueeze(x: Tensor, axis: Axes) -> Tensor:
    """Insert axes of size 1 at these places of the result (negative ones count from the end of the result)."""
    given = (axis,) if not isinstance(axis, tuple | list) else tuple(axis)
    axes = normalize_axes("unsqueeze", tuple(operator.index(a) for a in given), x.ndim + len(given))
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if i in axes else next(sizes) for i in range(x.ndim + len(axes))))


expand_dims = unsqueeze


def squeeze(x: Tensor, axis: Axes | None = None) -> Tensor:
    """Leave out these axes, whose size must be 1; without `axis` every axis of size 1."""
    if axis is None:
        return reshape(x, tuple(size for size in x.shape if size != 1))
    axes = normalize_axes("squeeze", axis, x.ndim)
    for i in axes:
        if x.shape[i] != 1:
            raise ShapeError(expected("squeeze", f"axis {i} of size 1", str(x.type)))
    return reshape(x, tuple(size for i, size in enumerate(x.shape) if i not in axes))


def _squeeze_where_it_can(x: Tensor, axis: Axes | None = None) -> Tensor:
    """Leave out those of these axes whose size is 1, as PyTorch does; `F.squeeze` refuses the others."""
    if axis is not None:
        axis = tuple(i for i in normalize_axes("squeeze", axis, x.ndim) if x.shape[i] == 1)
    return squeeze(x, axis)


def _int_axis(axis: Any) -> int:
    try:
        if isinstance(axis, Tensor):
            raise TypeError
        return operator.index(axis)
    except TypeError:
        raise ValueError(f"axis must be int, but got type:{type(axis)}") from None


def add_axis(x: Tensor, axis: int) -> Tensor:
    """Insert one axis of size 1 at `axis`, in [-ndim-1, ndim]. Raises ValueError unless `axis` is one int.

    >>> add_axis(tensor([1, 2]), 0).shape
    (1, 2)
    """
    return unsqueeze(as_tensor(x), _int_axis(axis))


def remove_axis(x: Tensor, axis: int) -> Tensor:
    """Leave out one axis, in [-ndim, ndim), of size 1. Raises ValueError unless `axis` is one int."""
    return squeeze(as_tensor(x), _int_axis(axis))


# Transpose ------------------------------------------------------------------------------------------------------------


@gradient_of(TRANSPOSE)
def _grad_transpose(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    axes = node.attrs["axes"]
    return (apply(TRANSPOSE, grad, axes=tuple(axes.index(i) for i in range(len(axes)))),)


def permute(x: Tensor, *axes: Any) -> Tensor:
    """The axes in this order: axis i of the result is axis `axes[i]` of x."""
    order = tuple(normalize_axis("permute", axis, x.ndim) for axis in as_sizes(axes))
    return apply(TRANSPOSE, x, axes=order)


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """Two ints: exchange these axes. One tuple: permute the axes. Nothing: reverse them.

    >>> transpose(zeros((2, 3, 4)), 0, 2).shape, transpose(zeros((2, 3, 4)), (1, 2, 0)).shape
    ((4, 3, 2), (3, 4, 2))
    """
    if not axes:
        return apply(TRANSPOSE, x, axes=tuple(range(x.ndim))[::-1])
    if len(axes) == 1:
        return permute(x, *axes)
    if len(axes) != 2:
        raise ShapeError(expected("transpose", "two axes, or one tuple of all axes", str(axes), "use permute"))
    # A tensor without axes has one that can be exchanged with itself.
    first, second = (normalize_axis("transpose", operator.index(axis), max(x.ndim, 1)) for axis in axes)
    if x.ndim == 0:
        return apply(TRANSPOSE, x, axes=())
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return apply(TRANSPOSE, x, axes=tuple(order))


def swap_axes(x: Tensor, first: int, second: int) -> Tensor:
    """Exchange two axes."""
    return transpose(x, first, second)


def move_axis(x: Tensor, source: Axes, destination: Axes) -> Tensor:
    """Take one axis (or several) out and put it in at another place; the others keep their order.

    >>> move_axis(zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    sources, places = (
        [
            normalize_axis("move_axis", axis, max(x.ndim, 1))
            for axis in (given if isinstance(given, Sequence) else (given,))
        ]
        for given in (source, destination)
    )
    if len(sources) != len(places) or len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise ShapeError(expected("move_axis", "as many places as axes, all different", f"{source} to {destination}"))
    if x.ndim == 0:
        return apply(TRANSPOSE, x, axes=())
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources)):
        order.insert(place, axis)
    return permute(x, order)


# Broadcast ------------------------------------------------------------------------------------------------------------


@gradient_of(BROADCAST_TO)
def _grad_broadcast(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    from dtrain.ops.reduction import sum_to_shape

    return (sum_to_shape(grad, node.inputs[0].shape),)


def broadcast_to(x: Tensor, shape: int | Sequence[int]) -> Tensor:
    """x repeated along axes of size 1 and new leading axes until it has this shape, without a copy."""
    sizes = as_sizes((shape,))
    if sizes[len(sizes) - x.ndim :] == x.shape and set(sizes[: len(sizes) - x.ndim]) <= {1}:
        return reshape(x, sizes)  # nothing is repeated: it may be written into
    return apply(BROADCAST_TO, x, shape=sizes)


def expand(x: Tensor, *shape: Any) -> Tensor:
    """`broadcast_to` where -1 keeps the size of an axis.

    >>> expand(zeros((3, 1)), -1, 4).shape
    (3, 4)
    """
    sizes = as_sizes(shape)
    leading = len(sizes) - x.ndim
    if leading < 0 or -1 in sizes[:leading]:
        raise ShapeError(expected("expand", f"at least {x.ndim} sizes, -1 only for axes of {x.type}", str(sizes)))
    own = (1,) * leading + x.shape
    return broadcast_to(x, tuple(own[i] if size == -1 else size for i, size in enumerate(sizes)))


def apart_from(x: Tensor, y: Tensor) -> Tensor:
    """y, made of x by views, in memory of its own."""
    return apply(get_op("copy"), y) if y is x or shares_memory(y, x) else y


def _transposed(x: Tensor) -> Tensor:
    return transpose(x)


install_methods(
    {
        "reshape": reshape,
        "view": view,
        "flatten": flatten,
        "unsqueeze": unsqueeze,
        "squeeze": _squeeze_where_it_can,
        "transpose": transpose,
        "permute": permute,
        "broadcast_to": broadcast_to,
        "expand": expand,
        "T": cast(Any, property(_transposed)),
    }
)
