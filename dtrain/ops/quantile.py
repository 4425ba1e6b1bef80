"""Quantiles: places between the sorted elements of an axis."""

from __future__ import annotations

from typing import Any, Literal, get_args

from dtrain.base.dtype import int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.comparison import isnan
from dtrain.ops.indexing import index_select
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import any as any_of
from dtrain.ops.shape import flatten, move_axis, reshape, squeeze, unsqueeze
from dtrain.ops.sorting import sort
from dtrain.ops.unary import ceil, floor
from dtrain.ops.unary import round as nearest
from dtrain.ops.value_checks import expect_finite
from dtrain.ops.where import where
from dtrain.opset.infer import normalize_axis

Interpolation = Literal["linear", "lower", "higher", "nearest", "midpoint"]


@rounded_once
def quantile(
    x: Any,
    q: Any,
    axis: int | None = None,
    keepdims: bool = False,
    *,
    interpolation: Interpolation = "linear",
) -> Tensor:
    """The value below which a share q of the elements lies, between the two sorted elements beside that place.

    A row with a NaN gives NaN.

    Args:
        q: a share in [0, 1], or a vector of them, which gives one quantile each along a new first axis.
        axis: all elements for None.
        interpolation: what to take between two elements.

    >>> quantile(tensor([0.0, 1.0, 2.0, 4.0]), 0.5).tolist()
    1.5
    """
    x = as_tensor(x)
    if interpolation not in get_args(Interpolation):
        wanted = "interpolation of " + ", ".join(get_args(Interpolation))
        raise ValueError(expected("quantile", wanted, repr(interpolation)))
    if not x.dtype.is_floating:
        raise DtypeError(expected("quantile", "floats", str(x.type), "cast with .to('f32')"))
    shares = cast(q, x.dtype) if isinstance(q, Tensor) else as_tensor(q, dtype=x.dtype)
    ndim = x.ndim
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    elif ndim:
        axis = normalize_axis("quantile", axis, ndim)
    else:
        x = reshape(x, (1,))
    if shares.ndim > 1 or x.shape[axis] == 0:
        given = f"{x.type} and q of {shares.ndim} axes"
        raise ShapeError(expected("quantile", "at least one element along the axis, and q of at most 1 axis", given))
    result = _between(move_axis(x, axis, -1), _checked(shares), interpolation)
    if keepdims:
        result = reshape(result, (shares.size, *(1,) * ndim)) if x.ndim != ndim else unsqueeze(result, axis + 1)
    return result if shares.ndim else squeeze(result, 0)


def _checked(shares: Tensor) -> Tensor:
    fits = (shares >= 0) & (shares <= 1)
    what = "q in [0, 1]"
    return flatten(expect_finite(where(fits, shares, float("nan")), where="quantile", what=what))


def _between(rows: Tensor, shares: Tensor, interpolation: Interpolation) -> Tensor:
    """Of rows [..., n] and shares [Q] the quantiles [Q, ...]."""
    ordered = sort(rows, -1)[0]
    ranks = shares * (rows.shape[-1] - 1)
    if interpolation == "nearest":
        found = index_select(ordered, -1, cast(nearest(ranks), int64))
    else:
        below, above = floor(ranks), ceil(ranks)
        low = index_select(ordered, -1, cast(below, int64))
        high = index_select(ordered, -1, cast(above, int64))
        weight = ranks - below if interpolation == "linear" else where(above > below, 0.5, 0.0)
        mixed = low + where(low == high, 0.0, high - low) * weight  # equal infinities differ by 0
        found = {"lower": low, "higher": high}.get(interpolation, mixed)
    has_nan = any_of(isnan(rows), -1, keepdims=True)
    return move_axis(where(has_nan, float("nan"), found), -1, 0)


install_methods({"quantile": quantile})
