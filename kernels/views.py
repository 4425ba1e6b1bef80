"""Ops that compute nothing: one row each, of which dispatch, writes in place and quantized elements read their part.

Of such an op there is no kernel to choose, only one function from an array to one that shows the same memory, of NumPy
and of CuPy. A `reshape` of an array with gaps copies, as the array modules do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any, NamedTuple

from dtrain.base.tensor_type import Shape, TensorType
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.device_arrays import diagonal_of

Attrs = Mapping[str, Any]
# (array, **attributes) -> the array that it shows
ViewFunction = Callable[..., Array]
# (axis, type of the input, type of the output, attributes) -> where the output has this axis, or None if nowhere
AxisMap = Callable[[int, TensorType, TensorType, Attrs], int | None]


class PutBack(NamedTuple):
    """The call that gives a whole with new elements in the place of what a view shows of it.

    Its inputs are the whole and the new part, or the part alone where a view shows every element.
    """

    op: str
    attrs: dict[str, Any]
    takes_whole: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is known of one op that shows its input.

    put_back: (attributes, shape of the whole) -> how a write into the view becomes one into the whole; None where the
        view repeats elements, so that no write has a meaning.
    axis_map: where scales along an axis of the input belong; None: quantized inputs are refused.
    may_copy: (attributes, shape of the input) -> whether it shows nothing of inputs that lie in some orders; None: it
        always shows its input.
    """

    function: ViewFunction
    put_back: Callable[[Attrs, Shape], PutBack] | None = None
    axis_map: AxisMap | None = None
    may_copy: Callable[[Attrs, Shape], bool] | None = None


# reshape --------------------------------------------------------------------------------------------------------------


def reshape(array: Array, *, shape: Shape) -> Array:
    """The same elements in order, with other axes."""
    return array.reshape(shape)


def merges_axes(source: Shape, target: Shape) -> bool:
    """Whether an axis of `target` runs over several of `source`: elements in another order would have to be copied."""
    return not set(accumulate(source, mul, initial=1)) <= set(accumulate(target, mul, initial=1))


def _reshape_back(attrs: Attrs, whole: Shape) -> PutBack:
    return PutBack("reshape", {"shape": whole}, takes_whole=False)


def _reshaped_axis(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    """The axis of the same size with as many elements before it, where the reshape leaves just one."""
    before, size = prod(source.shape[:axis]), source.shape[axis]
    places = [i for i, other in enumerate(target.shape) if other == size and prod(target.shape[:i]) == before]
    return places[0] if len(places) == 1 else None


# transpose ------------------------------------------------------------------------------------------------------------


def transpose(array: Array, *, axes: tuple[int, ...]) -> Array:
    """Axis i of the result is axis axes[i] of the array."""
    return array.transpose(axes)


def _transpose_back(attrs: Attrs, whole: Shape) -> PutBack:
    places = tuple(attrs["axes"].index(axis) for axis in range(len(whole)))
    return PutBack("transpose", {"axes": places}, takes_whole=False)


def _transposed_axis(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    moved: int = attrs["axes"].index(axis)
    return moved


# broadcast_to, spread -------------------------------------------------------------------------------------------------


def broadcast_to(array: Array, *, shape: Shape) -> Array:
    """Repeated along axes of size 1 and new leading axes."""
    return array_module(array).broadcast_to(array, shape)


def _broadcast_axis(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    moved = axis + target.ndim - source.ndim
    return moved if target.shape[moved] == source.shape[axis] else None


def spread(array: Array, *, axis: tuple[int, ...], shape: Shape) -> Array:
    """The result of a reduction over `axis`, without those axes, repeated along them up to `shape`."""
    if axis:
        array = array.reshape(tuple(1 if place in axis else size for place, size in enumerate(shape)))
    return array_module(array).broadcast_to(array, shape)


# get_item, diagonal ---------------------------------------------------------------------------------------------------


def as_key(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Entries (start, stop, step) as slices; ints and None as they are.

    The Ellipsis keeps a 0-d result an array, where NumPy would give a scalar.
    """
    return (*(slice(*entry) if isinstance(entry, tuple) else entry for entry in index), ...)


def get_item(array: Array, *, index: tuple[Any, ...]) -> Array:
    """The part that ints, (start, stop, step) and None show."""
    return array[as_key(index)]


def _cut_axis(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    """An index may leave out a part of the axis, and the scales with it."""
    return None


def _into(op: str) -> Callable[[Attrs, Shape], PutBack]:
    """By the op that takes the attributes of the view."""
    return lambda attrs, whole: PutBack(op, dict(attrs))


VIEWS: Mapping[str, View] = {
    "reshape": View(reshape, _reshape_back, _reshaped_axis, lambda attrs, shape: merges_axes(shape, attrs["shape"])),
    "transpose": View(transpose, _transpose_back, _transposed_axis),
    "broadcast_to": View(broadcast_to, axis_map=_broadcast_axis),
    "spread": View(spread),
    "get_item": View(get_item, _into("set_item"), _cut_axis),
    "diagonal": View(diagonal_of, _into("diagonal_scatter")),
}
