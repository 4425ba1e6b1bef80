"""Elements moved: to another dtype, into memory of their own, to another device."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.device_arrays import to_host
from dtrain.kernels.registry import reference


@reference("cast", layouts=LAID_OUT)
def cast(x: Array, out: Array, **target: Any) -> None:
    """Round to nearest even for floats; towards zero, then wrap, for integers."""
    out[...] = x if out.dtype.kind != "b" else x != 0


@reference("copy", layouts=LAID_OUT, quantized=True)
def copy(x: Array, out: Array) -> None:
    """The same elements."""
    out[...] = x


@reference("to_device", layouts=LAID_OUT, quantized=True)
def to_device(x: Array, out: Array, **target: Any) -> None:
    """The same elements in memory of another device."""
    if array_module(x) is np and array_module(out) is not np:
        out.set(np.asarray(x, order="C"))  # ascontiguousarray would give a 0-d array an axis
    elif array_module(x) is not np and array_module(out) is np:
        out[...] = to_host(x)
    elif array_module(x) is not np and x.device != out.device:
        out[...] = x.copy()  # lands on the current GPU, which is that of `out`
    else:
        out[...] = x
