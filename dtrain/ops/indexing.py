"""x[...]: slices and ints as a view, integer tensors as a gather. Writing by index is in `index_put.py`.

An index is first taken apart: its slices, ints, None and Ellipsis make one view (`get_item`), then its tensors pick
along the axes that are left (`take`). So x[0, :, i] has the shape of x[0][:, i], as in PyTorch. Boolean masks become
integer tensors, which needs values and so works eagerly only.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.ops.nonzero import nonzero
from dtrain.ops.one_element import as_vector, of_one_element
from dtrain.opset.indexing import GET_ITEM, GET_ITEM_BACKWARD, TAKE, TAKE_BACKWARD, BasicIndex, Entry
from dtrain.opset.infer import as_int, normalize_axis

Gradient = Tensor | None


# Basic index: a view --------------------------------------------------------------------------------------------------


@gradient_of(GET_ITEM)
def _grad_get_item(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(GET_ITEM_BACKWARD, grad, input_shape=node.inputs[0].shape, index=node.attrs["index"]),)


@gradient_of(GET_ITEM_BACKWARD)
def _grad_get_item_backward(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(GET_ITEM, grad, index=node.attrs["index"]),)


# Tensor index: a gather -----------------------------------------------------------------------------------------------


def _nones(count: int) -> tuple[None, ...]:
    return (None,) * count


@gradient_of(TAKE)
def _grad_take(node: TapeNode, grad: Tensor) -> tuple[Gradient, ...]:
    x, *indices = node.inputs
    dx = apply(TAKE_BACKWARD, grad, *indices, input_shape=x.shape, axes=node.attrs["axes"])
    return dx, *_nones(len(indices))


@gradient_of(TAKE_BACKWARD)
def _grad_take_backward(node: TapeNode, grad: Tensor) -> tuple[Gradient, ...]:
    indices = node.inputs[1:]
    return apply(TAKE, grad, *indices, axes=node.attrs["axes"]), *_nones(len(indices))


# From x[...] to the ops -----------------------------------------------------------------------------------------------


def _entries(x: Tensor, index: Any) -> list[Any]:
    entries = list(index) if isinstance(index, tuple) else [index]
    return [as_tensor(entry, device=x.device) if isinstance(entry, np.ndarray | list) else entry for entry in entries]


def _axes_used(entry: Any) -> int:
    if entry is None:
        return 0
    is_mask = isinstance(entry, Tensor) and entry.dtype.kind == "bool"
    return entry.ndim if is_mask else 1


def _fill_ellipsis(x: Tensor, entries: list[Any]) -> list[Any]:
    """Ellipsis as the full slices it stands for; full slices at the end stay implied."""
    used = sum(_axes_used(entry) for entry in entries if entry is not Ellipsis)
    if used > x.ndim:
        raise IndexError(expected("index", f"at most {x.ndim} indices for {x.type}", f"{used}"))
    places = [position for position, entry in enumerate(entries) if entry is Ellipsis]
    if len(places) > 1:
        raise IndexError(expected("index", "at most one Ellipsis", f"{len(places)}"))
    for place in places:
        entries[place : place + 1] = [slice(None)] * (x.ndim - used)
    return entries


def _basic_entry(entry: Any, size: int, axis: int) -> Entry:
    if isinstance(entry, slice):
        start, stop = (None if bound is None else operator.index(bound) for bound in (entry.start, entry.stop))
        step = 1 if entry.step is None else operator.index(entry.step)
        if step == 0:
            raise ValueError(expected("index", "a slice step that is not 0", str(entry)))
        return start, stop, step
    try:
        position = operator.index(entry)
    except TypeError:
        wanted = "ints, slices, None, Ellipsis, or integer or boolean tensors"
        raise IndexError(expected("index", wanted, repr(entry))) from None
    if isinstance(entry, bool) or not -size <= position < size:
        raise IndexError(expected("index", f"an int in [{-size}, {size}) for axis {axis}", repr(entry)))
    return position


class ParsedIndex:
    """An index taken apart: the basic part, and tensors with the axes that they pick along after it."""

    __slots__ = ("axes", "basic", "tensors")

    def __init__(self, x: Tensor, index: Any) -> None:
        self.basic: list[Entry] = []
        self.tensors: list[Tensor] = []
        self.axes: list[int] = []
        source = result = 0  # the axis of x, and of the view that the basic part makes
        for entry in _fill_ellipsis(x, _entries(x, index)):
            if isinstance(entry, Tensor):
                picks = _mask_positions(entry, x.shape[source:]) if entry.dtype.kind == "bool" else (entry,)
                for pick in picks:
                    self.basic.append((None, None, 1))
                    self.tensors.append(pick)
                    self.axes.append(result)
                    source, result = source + 1, result + 1
            elif entry is None:
                self.basic.append(None)
                result += 1
            else:
                self.basic.append(_basic_entry(entry, x.shape[source], source))
                source += 1
                result += isinstance(entry, slice)

    @property
    def is_trivial(self) -> bool:
        """Whether the basic part leaves x as it is."""
        return all(entry == (None, None, 1) for entry in self.basic)


def _mask_positions(mask: Tensor, sizes: Shape) -> tuple[Tensor, ...]:
    """The positions of the True elements, one vector an axis of the mask."""
    if mask.ndim == 0 or mask.shape != sizes[: mask.ndim]:
        raise IndexError(expected("index", f"a mask of shape {sizes[: mask.ndim]}", str(mask.type)))
    positions = nonzero(mask)
    return tuple(positions[:, axis] for axis in range(mask.ndim))


def get_item(x: Tensor, index: Any) -> Tensor:
    """x[index]: ints, slices, None and Ellipsis share the memory of x; integer and boolean tensors copy.

    Where tensors are apart (x[i, :, j]) their axes come first, as in NumPy. Masks work eagerly only.

    >>> get_item(arange(6).reshape(2, 3), (slice(None), -1)).tolist()
    [2, 5]
    """
    parsed = ParsedIndex(x, index)
    # x[...] is a view too, a tensor of its own: hooks on it, and whether it requires gradients, are not those of x.
    if not (parsed.is_trivial and parsed.tensors):
        x = apply(GET_ITEM, x, index=tuple(parsed.basic))
    return apply(TAKE, x, *parsed.tensors, axes=tuple(parsed.axes)) if parsed.tensors else x


def index_select(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """The slices of x at these positions of `axis`; index[n] of integers, negative ones count from the end.

    A tensor without axes has one place.
    """
    index = as_tensor(index)
    if index.ndim > 1:
        raise ShapeError(expected("index_select", "an index of at most 1 axis", str(index.type)))
    index = as_vector(index)
    if x.ndim == 0:
        if index.size != 1:
            raise ShapeError(expected("index_select", f"one place of {x.type}", str(index.type)))
        return of_one_element(index_select, x, axis, index)
    return apply(TAKE, x, index, axes=(normalize_axis("index_select", axis, x.ndim),))


def narrow(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    """The part of x from `start`, `length` long, along `axis`: a view. A negative start counts from the end."""
    axis = normalize_axis("narrow", axis, x.ndim)
    size = x.shape[axis]
    start, length = as_int("narrow", "start", start), as_int("narrow", "length", length, 0)
    given = f"[{start}, {start + length})"
    start += size if start < 0 else 0
    if not 0 <= start <= start + length <= size:
        raise ShapeError(expected("narrow", f"a part of [0, {size}), axis {axis} of {x.type}", given))
    full_axes: BasicIndex = ((None, None, 1),) * axis
    return apply(GET_ITEM, x, index=(*full_axes, (start, start + length, 1)))


install_methods({"__getitem__": get_item, "index_select": index_select, "narrow": narrow})
