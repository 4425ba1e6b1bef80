"""Products and extremes at places that may repeat, the same on every device in every run."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.kernels.array_module import Array, array_module

_UFUNCS = {"prod": "multiply", "amax": "maximum", "amin": "minimum"}


def reduce_at(reduce: str, total: Array, key: Any, values: Array) -> None:
    """total[key] = total[key] ∘ values, with all values of a place, where ∘ is that of prod, amax or amin.

    `total` is contiguous. NumPy combines in order. CuPy has no such function for all of these: there equal places are
    brought together, and each run of them is combined in pairs of runs of 1, 2, 4, … values.
    """
    xp = array_module(total)
    combine = getattr(xp, _UFUNCS[reduce])
    if xp is np:
        combine.at(total, key, values)
        return
    positions = xp.arange(total.size, dtype="int64").reshape(total.shape)[key].reshape(-1)
    order = xp.argsort(positions, kind="stable")
    places, combined = positions[order], values.reshape(-1)[order]
    reach = 1
    while reach < places.size:
        early, late = combined[:-reach], combined[reach:]
        combined[reach:] = xp.where(places[reach:] == places[:-reach], combine(early, late), late)
        reach *= 2
    is_last = xp.ones(places.shape, dtype="bool")
    is_last[:-1] = places[1:] != places[:-1]
    targets, flat = places[is_last], total.reshape(-1)
    flat[targets] = combine(flat[targets], combined[is_last])
