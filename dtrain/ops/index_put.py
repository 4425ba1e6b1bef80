"""Writing by index: functions that give a changed copy, differentiable in the tensor and in the written values.

`x[index] = values` writes in place, and x gets the history of that copy. Values in another layout are laid out plainly
first; into a quantized x go only elements that stand for the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.layout import PLAIN
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import apply, cast
from dtrain.core.context import context
from dtrain.core.inplace import overwrite, update_in_place
from dtrain.core.relayout import relayout
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import arange, full
from dtrain.graph.op import gradient_of
from dtrain.ops.indexing import ParsedIndex
from dtrain.ops.one_element import as_vector, of_one_element
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.shape import reshape
from dtrain.opset.index_put import INDEX_PUT, SET_ITEM, infer_set_item
from dtrain.opset.indexing import GET_ITEM, TAKE, BasicIndex
from dtrain.opset.infer import normalize_axis

Gradient = Tensor | None


# Basic index ----------------------------------------------------------------------------------------------------------


@gradient_of(SET_ITEM)
def _grad_set_item(node: TapeNode, grad: Tensor) -> tuple[Gradient, Gradient]:
    values, index = node.inputs[1], node.attrs["index"]
    nothing = full((), 0, dtype=grad.dtype, device=grad.device)
    return (
        apply(SET_ITEM, grad, nothing, index=index) if node.needs_grad[0] else None,
        sum_to_shape(apply(GET_ITEM, grad, index=index), values.shape) if node.needs_grad[1] else None,
    )


# Tensor index ---------------------------------------------------------------------------------------------------------


@gradient_of(INDEX_PUT)
def _grad_index_put(node: TapeNode, grad: Tensor) -> tuple[Gradient, ...]:
    x, values, *indices = node.inputs
    axes, accumulate = node.attrs["axes"], node.attrs["accumulate"]
    dx: Gradient = grad
    if not accumulate:
        nothing = full((), 0, dtype=grad.dtype, device=grad.device)
        dx = apply(INDEX_PUT, grad, nothing, *indices, axes=axes, accumulate=False)
    dvalues: Gradient = None
    if node.needs_grad[1]:
        dvalues = apply(TAKE, grad, *indices, axes=axes)
        if not accumulate:
            dvalues = dvalues * cast(_last_writers(x.shape, dvalues.shape, indices, axes), grad.dtype)
        dvalues = sum_to_shape(dvalues, values.shape)
    return dx, dvalues, *(None for _ in indices)


def _last_writers(shape: Shape, written: Shape, indices: list[Tensor], axes: tuple[int, ...]) -> Tensor:
    """Which of the written values remain: where places are repeated, the last one."""
    device = indices[0].device
    numbers = reshape(arange(prod(written), device=device), written)
    blank = full(shape, -1, dtype=numbers.dtype, device=device)
    final = apply(INDEX_PUT, blank, numbers, *indices, axes=axes, accumulate=False)
    return apply(TAKE, final, *indices, axes=axes) == numbers


# Functions ------------------------------------------------------------------------------------------------------------


def set_item(x: Tensor, index: Any, values: Any) -> Tensor:
    """A copy of x in which the elements at `index` are `values`, which broadcast. Differentiable in both.

    Where an index tensor repeats a place, the last value written there remains.
    """
    parsed = ParsedIndex(x, index)
    new = _like(values, x)
    if not parsed.tensors:
        return apply(SET_ITEM, x, new, index=tuple(parsed.basic))
    return _put(x, parsed, new, accumulate=False)


def add_item(x: Tensor, index: Any, values: Any) -> Tensor:
    """A copy of x with `values` added to the elements at `index`; repeated places add up, in order."""
    parsed = ParsedIndex(x, index)
    new = _like(values, x)
    if not parsed.tensors:
        basic = tuple(parsed.basic)
        return apply(SET_ITEM, x, apply(GET_ITEM, x, index=basic) + new, index=basic)
    return _put(x, parsed, new, accumulate=True)


def _like(values: Any, x: Tensor) -> Tensor:
    """`values` as elements of x, in the plain layout."""
    if x.type.element.quantization is not None:
        _expect_same_numbers(values, x)
    if isinstance(values, bool | int | float | list | tuple):
        return as_tensor(values, x.dtype, x.device)  # Python's numbers have to be in range
    return relayout(cast(as_tensor(values, device=x.device), x.dtype), PLAIN)


def _expect_same_numbers(values: Any, x: Tensor) -> None:
    """A cast between quantized elements of one dtype changes nothing, whatever they stand for."""
    if isinstance(values, Tensor) and values.type.element is x.type.element:
        return
    given = f"{values.type if isinstance(values, Tensor) else type(values).__name__} for {x.type}"
    raise DtypeError(expected(_WRITE, "elements that stand for the same numbers where one is quantized", given))


def _put(x: Tensor, parsed: ParsedIndex, values: Tensor, *, accumulate: bool) -> Tensor:
    axes = tuple(parsed.axes)
    if parsed.is_trivial:
        return apply(INDEX_PUT, x, values, *parsed.tensors, axes=axes, accumulate=accumulate)
    basic = tuple(parsed.basic)
    part = apply(GET_ITEM, x, index=basic)
    return apply(
        SET_ITEM, x, apply(INDEX_PUT, part, values, *parsed.tensors, axes=axes, accumulate=accumulate), index=basic
    )


def index_put(x: Tensor, indices: tuple[Any, ...], values: Any, accumulate: bool = False) -> Tensor:
    """`set_item`, or with `accumulate` `add_item`, under PyTorch's name."""
    return (add_item if accumulate else set_item)(x, tuple(indices), values)


def index_add(x: Tensor, axis: int, index: Tensor, values: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of x with slice i of alpha·values added at position index[i] of `axis`, in order.

    Raises ShapeError unless index is a vector, and `values` has a slice of x's shape for each of its elements.
    """
    x, index, values = as_tensor(x), as_tensor(index), as_tensor(values)
    if x.ndim == values.ndim == 0 and index.size == 1:
        index = as_vector(index)
        return of_one_element(index_add, x, axis, index, as_vector(values), alpha=alpha)
    axis = normalize_axis("index_add", axis, x.ndim)
    wanted = (*x.shape[:axis], index.size, *x.shape[axis + 1 :])
    if index.ndim != 1 or values.shape != wanted:
        given = f"index {index.type} and values {values.type}"
        raise ShapeError(expected("index_add", f"an index [n] and values {wanted} for x {x.type}", given))
    scaled = values if alpha == 1 else values * alpha
    return apply(INDEX_PUT, x, scaled, index, axes=(axis,), accumulate=True)


_WRITE = "x[...] = values"


def _assign_item(x: Tensor, index: Any, values: Any) -> None:
    parsed = ParsedIndex(x, index)
    if _shows(values, x, parsed):
        return
    is_recorded = context.grad_enabled and (x.requires_grad or (isinstance(values, Tensor) and values.requires_grad))
    if parsed.tensors or is_recorded or context.tracer is not None:
        update_in_place(_WRITE, x, _written(parsed), values)
    else:
        _write_part(x, tuple(parsed.basic), _like(values, x))


def _write_part(x: Tensor, index: BasicIndex, values: Tensor) -> None:
    infer_set_item(x.type, values.type, index=index)
    overwrite(apply(GET_ITEM, x, index=index), values, _WRITE)


def _written(parsed: ParsedIndex) -> Callable[[Tensor, Any], Tensor]:
    def written(x: Tensor, values: Any) -> Tensor:
        new = _like(values, x)
        if parsed.tensors:
            return _put(x, parsed, new, accumulate=False)
        return apply(SET_ITEM, x, new, index=tuple(parsed.basic))

    return written


def _shows(values: Any, x: Tensor, parsed: ParsedIndex) -> bool:
    """Whether `values` is what stands there, as where Python ends x[index] += 1 with x[index] = the changed view."""
    if not isinstance(values, Tensor) or parsed.tensors:
        return False
    if parsed.is_trivial:
        return values is x
    return (
        values.base is x and values.shown is not None and values.shown[:2] == (GET_ITEM, {"index": tuple(parsed.basic)})
    )


install_methods({"__setitem__": _assign_item})
