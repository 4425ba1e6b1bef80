"""Rounding that several ops compose: to decimals, and of quotients towards zero."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import DtypeError, expected
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.binary import div, floor_div
from dtrain.ops.cast import copy
from dtrain.ops.unary import ceil, floor
from dtrain.ops.unary import round as nearest
from dtrain.ops.where import where


def round(x: Any, *, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals, even ones at halves; gradient 0; integers stay.

    >>> round(tensor([1.25, 2.5]))
    Tensor([1., 2.], f32[2]@cpu)
    """
    if decimals == 0:
        return nearest(x)
    if as_tensor(x).dtype.is_integer:
        if decimals < 0:
            raise DtypeError(expected("round", "decimals of at least 0 for integers", str(decimals), "cast to floats"))
        return copy(as_tensor(x))
    scale = 10.0 ** abs(decimals)
    return nearest(x * scale) / scale if decimals > 0 else nearest(x / scale) * scale


def divide_towards_zero(x: Any, y: Any) -> Tensor:
    """x / y without what is behind the point; integers stay integers; gradient 0."""
    down = floor_div(x, y)
    if down.dtype.is_floating:
        quotient = div(as_tensor(x).detach(), as_tensor(y).detach())
        whole = where(quotient < 0, ceil(quotient), floor(quotient))
        return where(whole == down, down, whole)  # with the history of `down`, whose slope is 0 also beside infinity
    if down.dtype.kind == "unsigned":
        return down
    # A negative quotient that is not whole lies one below.
    return down + where((down < 0) & (down * y != x), 1, 0).to(down.dtype)


install_methods({"round": round})
