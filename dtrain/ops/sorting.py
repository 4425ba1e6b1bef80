"""Order and search: sort, argsort, topk, and the ops whose output size depends on values (eager only).

Sorting is stable in both directions: equal elements keep their order. NaN counts as larger than every number.
"""

from __future__ import annotations

from typing import Any

from dtrain.base.dtype import FLOATS, INTEGERS
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply, apply_tuple
from dtrain.core.pair import ValuesAndIndices
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import zeros
from dtrain.graph.op import gradient_of
from dtrain.ops.nonzero import nonzero
from dtrain.ops.one_element import of_one_element
from dtrain.ops.shape import broadcast_to, reshape, squeeze
from dtrain.opset.gather_scatter import SCATTER_ADD
from dtrain.opset.indexing import TAKE
from dtrain.opset.infer import as_int, broadcast_shapes, normalize_axis
from dtrain.opset.sorting import SORT, TOPK, UNIQUE, expect_axis

NUMBERS = (*INTEGERS, *FLOATS)


# Sort -----------------------------------------------------------------------------------------------------------------


@gradient_of(SORT, TOPK)
def _grad_by_indices(node: TapeNode, grad: Tensor, _: None) -> tuple[Tensor]:
    x, axis = node.inputs[0], node.attrs["axis"]
    nothing = zeros(x.shape, dtype=grad.dtype, device=grad.device)
    return (apply(SCATTER_ADD, nothing, node.outputs[1], grad, axis=axis),)


def sort(x: Tensor, axis: int = -1, descending: bool = False, *, stable: bool | None = None) -> ValuesAndIndices:
    """(values in order along `axis`, where each was: s64). Equal elements keep their order, whatever `stable` says.

    >>> sort(tensor([3, 1, 2]))[1].tolist()
    [1, 2, 0]
    """
    x = as_tensor(x)
    if x.ndim == 0:
        return of_one_element(sort, x, axis, descending)
    values, indices = apply_tuple(SORT, x, axis=normalize_axis("sort", axis, x.ndim), descending=bool(descending))
    return ValuesAndIndices(values, indices)


def argsort(x: Tensor, axis: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The positions (s64) that put x in order along `axis`; stable."""
    return sort(x, axis, descending)[1]


# Top k ----------------------------------------------------------------------------------------------------------------


def topk(x: Tensor, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """The k largest (or smallest) elements along `axis`, and where they were (s64).

    Of equal elements the first ones are taken. With `sorted` the best comes first; otherwise they stay in the order
    in which x has them.

    >>> topk(tensor([1.0, 3.0, 2.0]), 2)[0].tolist()
    [3.0, 2.0]
    """
    x = as_tensor(x)
    if x.ndim == 0:
        return of_one_element(topk, x, k, axis, largest, sorted)
    axis = normalize_axis("topk", axis, x.ndim)
    k = as_int("topk", "k", k, 1)
    values, indices = apply_tuple(TOPK, x, k=k, axis=axis, largest=bool(largest), sorted=bool(sorted))
    return ValuesAndIndices(values, indices)


def top_k(
    x: Tensor, k: int, descending: bool = False, kth_only: bool = False, no_sort: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The k smallest elements of the last axis in ascending order, or the k largest in descending order.

    Args:
        k: not 0; a negative k turns `descending` around; more than there are means all.
        kth_only: give only the k-th value, without that axis.
        no_sort: leave the elements in the order of x.

    >>> top_k(tensor([2, 4, 6, 8, 7, 5, 3, 1]), 5)[1].tolist()
    [7, 0, 6, 1, 5]
    """
    x = as_tensor(x)
    expect_axis("top_k", x.type, -1)
    if k == 0:
        raise ShapeError(expected("top_k", "k other than 0", "0"))
    count, largest = min(abs(k), x.shape[-1]), descending != (k < 0)
    values, indices = topk(x, count, -1, largest, sorted=kth_only or not no_sort)
    return squeeze(values[..., -1:], -1) if kth_only else (values, indices)


# Sizes that depend on values ------------------------------------------------------------------------------------------


def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """The elements of x where the mask is True, both broadcast: [count]. Differentiable. Eager only."""
    x, mask = as_tensor(x), as_tensor(mask)
    shape = broadcast_shapes("masked_select", x.shape, mask.shape)
    positions = squeeze(nonzero(reshape(broadcast_to(mask, shape), (-1,))), 1)
    return apply(TAKE, reshape(broadcast_to(x, shape), (-1,)), positions, axes=(0,))


def cond_take(mask: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """(elements of x where the mask is True, their positions in the flattened x: s64). Eager only."""
    if mask.shape != x.shape:
        raise ShapeError(expected("cond_take", "mask and x of one shape", f"{mask.type} and {x.type}"))
    positions = squeeze(nonzero(reshape(mask, (-1,))), 1)
    return apply(TAKE, reshape(x, (-1,)), positions, axes=(0,)), positions


def unique(
    x: Tensor,
    axis: int | None = None,
    *,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
) -> Any:
    """The different elements in ascending order, whatever `sorted` says. Eager only.

    Along an axis: the different slices, in the order of their first elements; one place and count a slice.

    Args:
        return_inverse: give also, behind them, for each element of x its place among them (s64).
        return_counts: give also, as the last, how often each is there (s64).

    >>> unique(tensor([[2, 1], [0, 5], [2, 1]]), 0).tolist()
    [[0, 5], [2, 1]]
    """
    x = as_tensor(x)
    attrs = {} if axis is None else {"axis": normalize_axis("unique", axis, x.ndim)}
    values, inverse, counts = apply_tuple(UNIQUE, x, **attrs)
    asked = (values, *(inverse,) * bool(return_inverse), *(counts,) * bool(return_counts))
    return values if len(asked) == 1 else asked


install_methods({"sort": sort, "argsort": argsort, "topk": topk, "masked_select": masked_select})
