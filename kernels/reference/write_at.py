"""Writing at places that may repeat: the last value stays, on every device."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.kernels.array_module import Array, array_module


def write_at(total: Array, key: Any, values: Array) -> None:
    """total[key] = values; of values for one place the last one stays. `total` is contiguous.

    NumPy assigns in order. On a GPU any writer may win, so the earlier ones are left out first.
    """
    xp = array_module(total)
    if xp is np:
        total[key] = values
        return
    positions = xp.arange(total.size, dtype="int64").reshape(total.shape)[key]
    flat = positions.reshape(-1)
    new = xp.broadcast_to(values, positions.shape).reshape(-1)
    order = xp.argsort(flat, kind="stable")
    in_order = flat[order]
    is_last = xp.ones(flat.shape, dtype="bool")
    is_last[:-1] = in_order[1:] != in_order[:-1]
    last = order[is_last]
    total.reshape(-1)[flat[last]] = new[last]
