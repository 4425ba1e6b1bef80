"""The methods that choose elements along an axis, as PyTorch has them: each gives (values, indices).

`x.max(1)` is the pair; `dtrain.functional.max(x, 1)` and `x.amax(1)` are the values alone, as in NumPy. The values are
gathered by the indices, so that the gradient goes to the chosen element, where `amax` shares it among equal ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.context import no_grad
from dtrain.core.pair import ValuesAndIndices
from dtrain.core.tensor import Tensor, install_methods
from dtrain.core.tensor_factory import arange, full
from dtrain.ops import reduction
from dtrain.ops.argreduce import argmax, argmin
from dtrain.ops.binary import maximum, minimum
from dtrain.ops.cast import copy
from dtrain.ops.comparison import isnan
from dtrain.ops.gather_scatter import gather
from dtrain.ops.indexing import narrow
from dtrain.ops.joining import concat
from dtrain.ops.shape import broadcast_to, expand_dims, reshape, squeeze
from dtrain.ops.sorting import sort
from dtrain.ops.where import where
from dtrain.opset.infer import as_int, normalize_axis

Axis = reduction.Axis
Chooser = Callable[[Tensor, int], Tensor]  # (x, axis) -> positions along the axis, which stays with size 1


def _along(name: str, x: Tensor, axis: Any, keepdims: bool, choose: Chooser) -> ValuesAndIndices:
    """The chosen elements along one axis. A 0-d tensor counts as one of a single element."""
    if not isinstance(x, Tensor):
        raise TypeError(expected(name, "a tensor", f"{x!r} of type {type(x).__name__}"))
    if not hasattr(axis, "__index__"):
        given = f"{axis!r} of type {type(axis).__name__}"
        advice = (
            f"x.a{name}(axes) or dtrain.functional.{name} for values over several" if name in ("max", "min") else ""
        )
        raise TypeError(expected(f"x.{name}", "one axis as an int", given, advice))
    source = reshape(x, (1,)) if x.ndim == 0 else x
    axis = normalize_axis(name, axis, source.ndim)
    if source.shape[axis] == 0:
        raise ShapeError(expected(name, "at least one element along the axis", str(x.type)))
    with no_grad():
        indices = choose(source.detach(), axis)
    values = gather(source, axis, indices)
    if x.ndim == 0 or not keepdims:
        values, indices = squeeze(values, axis), squeeze(indices, axis)
    return ValuesAndIndices(values, indices)


def max(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor | ValuesAndIndices:
    """The largest element of all; with an axis (values, indices) along it; with a tensor the larger of both.

    NaN counts as the largest. Of equal elements the first is chosen, and takes the gradient.

    >>> tensor([[1.0, 2.0], [4.0, 3.0]]).max(1).indices
    Tensor([1, 0], s64[2]@cpu)
    """
    if isinstance(axis, Tensor):
        return maximum(x, axis)
    if axis is None:
        return reduction.max(x, keepdims=keepdims)
    return _along("max", x, axis, keepdims, lambda source, at: argmax(source, at, keepdims=True))


def min(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor | ValuesAndIndices:
    """The smallest element of all; with an axis (values, indices) along it; with a tensor the smaller of both."""
    if isinstance(axis, Tensor):
        return minimum(x, axis)
    if axis is None:
        return reduction.min(x, keepdims=keepdims)
    return _along("min", x, axis, keepdims, lambda source, at: argmin(source, at, keepdims=True))


def amax(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest elements over one or several axes, without their places."""
    return reduction.max(x, axis, keepdims=keepdims)


def amin(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest elements over one or several axes, without their places."""
    return reduction.min(x, axis, keepdims=keepdims)


def kthvalue(x: Tensor, k: int, axis: int = -1, keepdims: bool = False) -> ValuesAndIndices:
    """(values, indices) of the k-th smallest elements along an axis; k counts from 1."""
    number = as_int("kthvalue", "k", k, 1)

    def choose(source: Tensor, at: int) -> Tensor:
        if number > source.shape[at]:
            raise ShapeError(expected("kthvalue", f"k of at most {source.shape[at]} for {x.type}", str(k)))
        return copy(narrow(sort(source, at)[1], at, number - 1, 1))

    return _along("kthvalue", x, axis, keepdims, choose)


def median(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor | ValuesAndIndices:
    """The middle element, the lower of two; with an axis (values, indices) along it. NaN where there is one.

    >>> tensor([[3.0, 1.0, 2.0, 4.0]]).median(1).values
    Tensor([2.], f32[1]@cpu)
    """
    if axis is None:
        return _along("median", reshape(x, (-1,)), 0, False, _middle).values
    return _along("median", x, axis, keepdims, _middle)


def _middle(x: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    order = sort(x, axis)[1]
    middle = copy(narrow(order, axis, (size - 1) // 2, 1))
    if not x.dtype.is_floating:
        return middle
    # Sorted, NaN come last: the first of them stands as many places before the end as there are.
    num_nan = reduction.sum(isnan(x), axis, keepdims=True)
    return where(num_nan > 0, gather(order, axis, where(num_nan > 0, size - num_nan, 0)), middle)


def mode(x: Tensor, axis: int = -1, keepdims: bool = False) -> ValuesAndIndices:
    """(values, indices) of the most frequent elements along an axis: the smallest of equally frequent ones.

    >>> tensor([3, 1, 3, 1, 2]).mode().values
    Tensor(1, s64[]@cpu)
    """
    return _along("mode", x, axis, keepdims, _most_frequent)


def _most_frequent(x: Tensor, axis: int) -> Tensor:
    values, order = sort(x, axis)
    size = x.shape[axis]
    places = _places(x, axis)
    same = narrow(values, axis, 1, size - 1) == narrow(values, axis, 0, size - 1)
    first = full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), False, dtype="bool", device=x.device)
    starts = where(concat([first, same], axis), 0, places)
    runs = places - _scan(starts, axis, lambda late, early: late >= early)[0]  # elements before it in its run
    return gather(order, axis, argmax(runs, axis, keepdims=True))


def cummax(x: Tensor, axis: int) -> ValuesAndIndices:
    """(values, indices) of the largest among the first 1, 2, … elements along an axis: the last of equal ones.

    >>> tensor([1.0, 3.0, 2.0]).cummax(0).values
    Tensor([1., 3., 3.], f32[3]@cpu)
    """
    return _running("cummax", x, axis, lambda late, early: late >= early)


def cummin(x: Tensor, axis: int) -> ValuesAndIndices:
    """(values, indices) of the smallest among the first 1, 2, … elements along an axis: the last of equal ones."""
    return _running("cummin", x, axis, lambda late, early: late <= early)


def _running(name: str, x: Tensor, axis: int, wins: Callable[[Tensor, Tensor], Tensor]) -> ValuesAndIndices:
    source = reshape(x, (1,)) if x.ndim == 0 else x
    axis = normalize_axis(name, axis, source.ndim)
    with no_grad():
        indices = _scan(source.detach(), axis, wins)[1]
    return ValuesAndIndices(reshape(gather(source, axis, indices), x.shape), reshape(indices, x.shape))


def _scan(x: Tensor, axis: int, wins: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The winner among the elements up to each place, and where it is: ⌈log₂ size⌉ rounds, each over twice as many."""
    values, places = x, _places(x, axis)
    size, reach = x.shape[axis], 1
    while reach < size:
        late, early = narrow(values, axis, reach, size - reach), narrow(values, axis, 0, size - reach)
        takes_late = wins(late, early)
        if x.dtype.is_floating:
            takes_late = isnan(late) | (takes_late & (isnan(early) == False))  # noqa: E712
        late_places = narrow(places, axis, reach, size - reach)
        early_places = narrow(places, axis, 0, size - reach)
        values = concat([narrow(values, axis, 0, reach), where(takes_late, late, early)], axis)
        places = concat([narrow(places, axis, 0, reach), where(takes_late, late_places, early_places)], axis)
        reach *= 2
    return values, places


def _places(x: Tensor, axis: int) -> Tensor:
    """The position of each element along the axis, s64."""
    numbers = arange(x.shape[axis], device=x.device)
    behind = tuple(range(1, x.ndim - axis))
    return broadcast_to(expand_dims(numbers, behind) if behind else numbers, x.shape)


install_methods(
    {
        "max": max,
        "min": min,
        "amax": amax,
        "amin": amin,
        "kthvalue": kthvalue,
        "median": median,
        "mode": mode,
        "cummax": cummax,
        "cummin": cummin,
    }
)
