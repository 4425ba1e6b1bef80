"""In which precision references compute: f16 and bf16 in f32, everything else in its own dtype.

A reference widens its inputs, computes, and stores: each result is rounded exactly once, into the dtype of `out`.
"""

from __future__ import annotations

import numpy as np

from dtrain.kernels.array_module import Array


def accumulation_dtype(dtype: np.dtype) -> np.dtype:
    """f32 for the two-byte floats, else `dtype` itself (bfloat16 counts as a float, though NumPy calls it void)."""
    is_short_float = dtype.itemsize == 2 and dtype.kind not in "iu"
    return np.dtype(np.float32) if is_short_float else dtype


def widen(array: Array) -> Array:
    """The array in its accumulation dtype; the array itself where that is what it has."""
    return array.astype(accumulation_dtype(array.dtype), copy=False)


def store(out: Array, value: Array) -> None:
    """Round `value` into `out`."""
    out[...] = value.astype(out.dtype, copy=False)
