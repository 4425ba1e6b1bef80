"""Adding at places that may repeat: what scattering, and the gradients of indexing and pooling, come down to."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.device import as_device
from dtrain.base.dtype import from_numpy, int64
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.choice import choose
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import reference


@reference("add_at", inputs="T N T")
def add_at_positions(total: Array, positions: Array, values: Array, out: Array) -> None:
    """out = total with values[n] added at the flat positions[n] ≥ 0, in order. `out` may be `total`."""
    if out is not total:
        out[...] = total
    np.add.at(out.reshape(-1), positions, values)


def add_at(total: Array, key: Any, values: Array) -> None:
    """total[key] += values, places that occur several times added several times, in order on every device.

    CuPy's own `add.at` adds floats atomically, in an order that changes from run to run, and knows few dtypes.
    """
    xp = array_module(total)
    if xp is np:
        np.add.at(total, key, values)
        return
    if total.dtype.kind == "b":  # a sum of truths is whether there is any
        counts = total.astype("int64")
        add_at(counts, key, values.astype("int64"))
        total[...] = counts != 0
        return
    positions = xp.arange(total.size, dtype="int64").reshape(total.shape)[key]
    values = xp.ascontiguousarray(xp.broadcast_to(values, positions.shape).astype(total.dtype, copy=False))
    device = as_device(f"cuda:{total.device.id}")
    added, flat = (tensor_type((1,), dtype, device=device) for dtype in (from_numpy(total.dtype), int64))
    kernel = choose(Problem("add_at", [added, flat, added], [added]))
    kernel.function(total, positions.reshape(-1), values.reshape(-1), out=total)
