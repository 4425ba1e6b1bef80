"""Elements chosen by a mask: `masked_fill`, `x.where(condition, y)`."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.shape import broadcast_to
from dtrain.ops.where import where


def masked_fill(x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """`value`, one number, where the mask holds, else x; of x's dtype.

    >>> masked_fill(tensor([1.0, 2.0]), tensor([True, False]), 0)
    Tensor([0., 2.], f32[2]@cpu)
    """
    value = value if isinstance(value, Tensor) else as_tensor(value, x.dtype)
    if value.ndim:
        given = f"{value.type} beside {x.type}"
        raise ShapeError(expected("masked_fill", "one number as value", given, "write where(mask, value, x)"))
    shape = broadcast_to(mask, x.shape) if mask.ndim <= x.ndim else mask
    return where(shape, cast(value, x.dtype), x)


def _where(x: Tensor, condition: Tensor, y: Any) -> Tensor:
    """x where the condition holds, else y."""
    return where(condition, x, y)


install_methods({"masked_fill": masked_fill, "where": _where})
