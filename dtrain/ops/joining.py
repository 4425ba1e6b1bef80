"""Ops that join tensors or take them apart along an axis: concat, stack, split, chunk, pad, roll."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from dtrain.base.dtype import expect_held
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply, apply_all
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.ops.cast import copy
from dtrain.ops.indexing import get_item, index_select, narrow
from dtrain.ops.shape import reshape, unsqueeze
from dtrain.opset.infer import as_int, normalize_axes, normalize_axis
from dtrain.opset.joining import CONCAT, PAD

# Concat ---------------------------------------------------------------------------------------------------------------


@gradient_of(CONCAT)
def _grad_concat(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
    axis = node.attrs["axis"]
    sizes = [x.shape[axis] for x in node.inputs]
    starts = [0, *accumulate(sizes)]
    return tuple(
        narrow(grad, axis, start, size) if needed else None
        for start, size, needed in zip(starts, sizes, node.needs_grad)
    )


def concat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join tensors of one shape, but for the size of `axis`, along that axis. Dtypes are promoted.

    >>> concat([zeros((2, 1)), ones((2, 2))], axis=1).shape
    (2, 3)
    """
    given = [as_tensor(tensor) for tensor in tensors]
    if not given:
        raise ShapeError(expected("concat", "at least one tensor", "none"))
    if given[0].ndim == 0:
        raise ShapeError(expected("concat", "tensors of at least 1 axis", str(given[0].type), "use stack"))
    return apply_all(CONCAT, given, {"axis": normalize_axis("concat", axis, given[0].ndim)})[0]


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    given = [as_tensor(tensor) for tensor in tensors]
    if not given or any(tensor.shape != given[0].shape for tensor in given):
        shapes = ", ".join(str(tensor.shape) for tensor in given) or "none"
        raise ShapeError(expected("stack", "tensors of one shape", shapes))
    return concat([unsqueeze(tensor, axis) for tensor in given], axis)


cat = concat


# Split ----------------------------------------------------------------------------------------------------------------


def split(x: Tensor, split_size: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Cut x along `axis` into parts of `split_size` (the last may be smaller), or into parts of the given sizes."""
    axis = normalize_axis("split", axis, x.ndim)
    total = x.shape[axis]
    if not isinstance(split_size, Sequence):
        part = as_int("split", "split_size", split_size, 1)
        sizes = [min(part, total - start) for start in range(0, max(total, 1), part)]
    else:
        sizes = [operator.index(size) for size in split_size]
        if sum(sizes) != total or min(sizes, default=0) < 0:
            raise ShapeError(expected("split", f"sizes that add up to {total}, axis {axis} of {x.type}", str(sizes)))
    starts = accumulate(sizes, initial=0)
    return tuple(narrow(x, axis, start, size) for start, size in zip(starts, sizes))


def chunk(x: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """Cut x along `axis` into `chunks` parts of equal size, but for the last; fewer parts where the axis is short."""
    chunks = as_int("chunk", "chunks", chunks, 1)
    axis = normalize_axis("chunk", axis, x.ndim)
    return split(x, max(1, -(-x.shape[axis] // chunks)), axis)


def tensor_split(x: Tensor, indices_or_sections: int | Sequence[int] | Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """Cut x along `axis` into so many parts, the first ones one longer where it does not divide; or at these places.

    >>> print(*map(len, tensor_split(tensor([1, 2, 3]), 2)))
    2 1
    """
    axis = normalize_axis("tensor_split", axis, x.ndim)
    total = x.shape[axis]
    if not isinstance(indices_or_sections, Sequence) and not getattr(indices_or_sections, "ndim", 0):
        count = as_int("tensor_split", "sections", indices_or_sections, 1)
        return split(x, [total // count + (part < total % count) for part in range(count)], axis)
    places = [slice(None, operator.index(place)).indices(total)[1] for place in indices_or_sections]  # type: ignore[union-attr]
    starts, ends = [0, *places], [*places, total]
    return tuple(narrow(x, axis, min(start, end), max(end - start, 0)) for start, end in zip(starts, ends))


def unbind(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along `axis`, without that axis: views."""
    axis = normalize_axis("unbind", axis, x.ndim)
    before = (slice(None),) * axis
    return tuple(get_item(x, (*before, position)) for position in range(x.shape[axis]))


# Pad ------------------------------------------------------------------------------------------------------------------


@gradient_of(PAD)
def _grad_pad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    for axis, (before, _) in enumerate(node.attrs["pads"]):
        grad = narrow(grad, axis, before, node.inputs[0].shape[axis])
    return (grad,)


# Mode -> NumPy's mode that gives the index of the source element at every place.
_INDEX_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Tensor, pads: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """Add elements before and after, pairs from the last axis backwards: (left, right, top, bottom, …).

    Negative sizes cut as many elements off.

    Args:
        mode: "constant" (with `value`), "reflect" (without repeating the edge), "replicate" or "circular".

    >>> pad(tensor([1, 2, 3]), (1, 1), mode="reflect").tolist()
    [2, 1, 2, 3, 2]
    """
    sizes = [operator.index(size) for size in pads]
    if len(sizes) % 2 or len(sizes) > 2 * x.ndim:
        raise ShapeError(expected("pad", f"a pair for each of at most {x.ndim} axes", str(tuple(pads))))
    pairs = [(0, 0)] * (x.ndim - len(sizes) // 2) + list(zip(sizes[-2::-2], sizes[-1::-2]))
    if min(sizes, default=0) < 0:
        x, pairs = _cut(x, pairs)
        sizes = [size for pair in pairs for size in pair]
    if mode == "constant":
        expect_held("pad", x.dtype, value)
        return apply(PAD, x, pads=tuple(pairs), value=value) if any(sizes) else copy(x)
    if mode not in _INDEX_MODES:
        raise ValueError(expected("pad", "mode constant, " + ", ".join(_INDEX_MODES), repr(mode)))
    if not any(sizes):
        return copy(x)
    for axis, pair in enumerate(pairs):
        if any(pair):
            x = _pad_by_index(x, axis, pair, mode)
    return x


def _cut(x: Tensor, pairs: list[tuple[int, int]]) -> tuple[Tensor, list[tuple[int, int]]]:
    """x without what negative sizes cut off, and the sizes that are left to add."""
    if any(size + min(before, 0) + min(after, 0) < 0 for size, (before, after) in zip(x.shape, pairs)):
        raise ShapeError(expected("pad", f"sizes that leave something of {x.type}", str(pairs)))
    kept = [slice(max(-before, 0), size - max(-after, 0)) for size, (before, after) in zip(x.shape, pairs)]
    return get_item(x, tuple(kept)), [(max(before, 0), max(after, 0)) for before, after in pairs]


def _pad_by_index(x: Tensor, axis: int, pair: tuple[int, int], mode: str) -> Tensor:
    size = x.shape[axis]
    limit = {"reflect": size - 1, "circular": size}.get(mode)
    if size == 0 or (limit is not None and max(pair) > limit):
        wanted = f"padding of at most {limit or 0} on axis {axis} of {x.type} in mode {mode}"
        raise ShapeError(expected("pad", wanted, str(pair)))
    source = np.pad(np.arange(size), pair, mode=_INDEX_MODES[mode])  # type: ignore[call-overload]
    return index_select(x, axis, as_tensor(source, device=x.device))


# Flip and roll --------------------------------------------------------------------------------------------------------


def flip(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """A copy of x in reverse order along these axes, or along all; `x[::-1]` is a view."""
    axes = normalize_axes("flip", axis, x.ndim)
    return copy(get_item(x, tuple(slice(None, None, -1 if i in axes else None) for i in range(x.ndim))))


def roll(x: Tensor, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """Shift elements along axes; what leaves at one end comes back at the other. Without axes, of the flat tensor.

    Always a copy, also where nothing moves.
    """
    if axis is None:
        if not isinstance(shift, int):
            raise ShapeError(expected("roll", "one shift where no axis is given", str(shift)))
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape) if x.size else copy(x)
    shifts = [shift] if isinstance(shift, int) else list(shift)
    axes = [axis] if isinstance(axis, int) else list(axis)
    if len(shifts) != len(axes):
        raise ShapeError(expected("roll", "as many shifts as axes", f"{shift} and {axis}"))
    rolled = x
    for amount, where in zip(shifts, axes):
        where = normalize_axis("roll", where, x.ndim)
        if (size := x.shape[where]) and (cut := -amount % size):
            rolled = concat([narrow(rolled, where, cut, size - cut), narrow(rolled, where, 0, cut)], where)
    return copy(x) if rolled is x else rolled


install_methods({"split": split, "chunk": chunk, "flip": flip})


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along axis 1; numbers and vectors along axis 0."""
    parts = [reshape(part, 1) if part.ndim == 0 else part for part in tensors]
    return concat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along axis 0; a vector is a row."""
    return concat([reshape(part, (1, part.size)) if part.ndim < 2 else part for part in tensors], 0)
