"""Inputs whose reduction has one exact result in every order, so that a check needs no tolerance.

Sums of small whole numbers are exact as long as they fit in the mantissa; products are of ones and minus ones.
"""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import DType, bool_
from dtrain.base.errors import DtypeError, expected
from dtrain.collectives.programs.rank_order import Array, ReduceOp

# Whole numbers up to here are exact: 2 to the bits of the significand.
_EXACT_UP_TO = {"bf16": 2**8, "f16": 2**11, "f32": 2**24, "f64": 2**53}


def inputs(count: int, rank: int, size: int, dtype: DType, op: ReduceOp) -> Array:
    """What `rank` of `size` puts in.

    Raises:
        DtypeError: too many ranks for exact sums in `dtype`.
    """
    index = np.arange(count)
    if dtype is bool_:
        mask: Array = (index // (rank + 1)) % 2 == 0
        return mask
    if op == "prod":
        return np.where((index // (rank + 1)) % 2 == 0, 1, -1).astype(dtype.numpy)
    largest = min(7, _EXACT_UP_TO.get(dtype.tag, 2**63) // size)
    if largest < 1:
        raise DtypeError(
            expected("bench", f"at most {_EXACT_UP_TO[dtype.tag]} ranks for exact sums in {dtype.tag}", f"{size}")
        )
    return ((index + 3 * rank) % (largest + 1)).astype(dtype.numpy)


def expected_result(count: int, size: int, dtype: DType, op: ReduceOp) -> Array:
    """What everybody must get, worked out in 64-bit integers (and one division for the mean)."""
    total: Array = inputs(count, 0, size, dtype, op).astype(np.int64)
    for rank in range(1, size):
        part = inputs(count, rank, size, dtype, op).astype(np.int64)
        if op in ("sum", "mean"):
            total += part
        elif op == "prod":
            total *= part
        else:
            total = np.minimum(total, part) if op == "min" else np.maximum(total, part)
    if op == "mean":
        wide = np.float64 if dtype.itemsize == 8 else np.float32
        total = total.astype(wide) / wide(size)
    result: Array = total.astype(dtype.numpy)
    return result


def count_wrong(given: Array, wanted: Array) -> int:
    """Elements that are not the same bits."""
    given_bytes, wanted_bytes = (array.view(np.uint8).reshape(-1, array.itemsize) for array in (given, wanted))
    return int(np.count_nonzero((given_bytes != wanted_bytes).any(axis=1)))
