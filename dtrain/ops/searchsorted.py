"""Places in sorted rows, by halving."""

from __future__ import annotations

from typing import Any, Literal

from dtrain.base.dtype import int32
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply, cast
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.gather_scatter import gather
from dtrain.opset.searchsorted import SEARCHSORTED


def searchsorted(
    sorted_values: Any,
    x: Any,
    right: bool = False,
    *,
    side: Literal["left", "right"] | None = None,
    sorter: Tensor | None = None,
    out_int32: bool = False,
) -> Tensor:
    """For each element of x the place in ascending sorted_values[n] that keeps it sorted: s64, of x's shape.

    Rows of several axes, [..., n], are searched for the rows of x, [..., m]. Before equal elements, or behind them with
    `right`. NaN lies behind every number.

    Args:
        side: "right" for `right`, or "left".
        sorter: the places that sort the values (along their last axis), where these are not sorted themselves.
        out_int32: give s32 instead.

    >>> searchsorted(tensor([1, 3, 5]), tensor([3, 6])).tolist()
    [1, 3]
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        given = f"side {side!r} and right {right}"
        raise ValueError(expected("searchsorted", "side 'left' or 'right', in accord with right", given))
    if sorter is not None:
        sorted_values = gather(as_tensor(sorted_values), -1, sorter)
    places = apply(SEARCHSORTED, sorted_values, x, right=bool(right) or side == "right")
    return cast(places, int32) if out_int32 else places


def bucketize(x: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of each element's bucket, s64: how many of the ascending boundaries[n] lie below it.

    With `right` also those that are equal to it.

    >>> bucketize(tensor([1, 3, 6]), tensor([1, 3, 5])).tolist()
    [0, 1, 3]
    """
    limits = as_tensor(boundaries)
    if limits.ndim != 1:
        raise ShapeError(expected("bucketize", "boundaries [n]", str(limits.type), "use searchsorted for rows"))
    return searchsorted(limits, x, bool(right), out_int32=out_int32)
