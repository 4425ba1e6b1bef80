"""Ops that compute nothing: functions from an array to one that shows the same memory, of NumPy and of CuPy.

Of such an op there is no kernel to choose, only this one function. A `reshape` of an array with gaps copies, as the
array modules do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.device_arrays import diagonal_of

View = Callable[..., Array]
Shape = tuple[int, ...]


def reshape(array: Array, *, shape: Shape) -> Array:
    """The same elements in order, with other axes."""
    return array.reshape(shape)


def transpose(array: Array, *, axes: tuple[int, ...]) -> Array:
    """Axis i of the result is axis axes[i] of the array."""
    return array.transpose(axes)


def broadcast_to(array: Array, *, shape: Shape) -> Array:
    """Repeated along axes of size 1 and new leading axes."""
    return array_module(array).broadcast_to(array, shape)


def spread(array: Array, *, axis: tuple[int, ...], shape: Shape) -> Array:
    """The result of a reduction over `axis`, without those axes, repeated along them up to `shape`."""
    if axis:
        array = array.reshape(tuple(1 if place in axis else size for place, size in enumerate(shape)))
    return array_module(array).broadcast_to(array, shape)


def as_key(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Entries (start, stop, step) as slices; ints and None as they are.

    The Ellipsis keeps a 0-d result an array, where NumPy would give a scalar.
    """
    return (*(slice(*entry) if isinstance(entry, tuple) else entry for entry in index), ...)


def get_item(array: Array, *, index: tuple[Any, ...]) -> Array:
    """The part that ints, (start, stop, step) and None show."""
    return array[as_key(index)]


VIEWS: Mapping[str, View] = {
    "reshape": reshape,
    "transpose": transpose,
    "broadcast_to": broadcast_to,
    "spread": spread,
    "get_item": get_item,
    "diagonal": diagonal_of,
}
