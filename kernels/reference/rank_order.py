"""Reduction of equally shaped arrays in argument order: the one rule of summation of all communicators.

Element i of the result combines a₀[i], a₁[i], … strictly from left to right, whatever the size or the split into
buckets, so packing cannot change numbers and all ranks agree bitwise.
"""

from __future__ import annotations

from dtrain.base.errors import expected
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import Array, array_module, reference

# bool: sum and max mean any, prod and min mean all, as NumPy's ufuncs have it.
UFUNCS = {"sum": "add", "mean": "add", "prod": "multiply", "min": "minimum", "max": "maximum"}


@reference("rank_order_reduce")
def rank_order_reduce(*arrays: Array, out: Array, op: str) -> None:
    """out = ((a₀ ∘ a₁) ∘ a₂) ∘ …, op one of sum, mean, prod, min, max; the mean (floats only) divides the sum.

    f16 and bf16 accumulate in f32 and are rounded once; integers wrap; min and max propagate NaN. `out` may be any
    of the arrays.
    """
    if op not in UFUNCS:
        raise ValueError(expected("rank_order_reduce", "op one of " + ", ".join(UFUNCS), repr(op)))
    combine = getattr(array_module(out), UFUNCS[op])
    total = widen(arrays[0])
    for array in arrays[1:]:
        total = combine(total, widen(array))
    store(out, total / total.dtype.type(len(arrays)) if op == "mean" else total)
