"""Reduction of equally shaped arrays in argument order: the one rule of summation of all communicators.

Element i of the result combines a₀[i], a₁[i], … strictly from left to right, whatever the size or the split into
buckets, so packing cannot change numbers and all ranks agree bitwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.base.errors import expected
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference

# bool: sum and max mean any, prod and min mean all, as NumPy's ufuncs have it.
UFUNCS = {"sum": "add", "mean": "add", "prod": "multiply", "min": "minimum", "max": "maximum"}


@reference("rank_order_reduce")
def rank_order_reduce(*arrays: Array, out: Array, op: str, weights: Sequence[float] = ()) -> None:
    """out = ((a₀ ∘ a₁) ∘ a₂) ∘ …, op one of sum, mean, prod, min, max; the mean (floats only) divides the sum.

    op "weighted" (floats only) is (w₀·a₀ + w₁·a₁) + …, `weights` a number an array; an array of weight 0 is not read.
    f16 and bf16 accumulate in f32 and are rounded once; integers wrap; min and max propagate NaN. `out` may be any
    of the arrays.
    """
    if op == "weighted":
        _sum_weighted(arrays, weights, out)
        return
    if op not in UFUNCS:
        raise ValueError(expected("rank_order_reduce", "op one of " + ", ".join(UFUNCS), repr(op)))
    combine = getattr(array_module(out), UFUNCS[op])
    total = widen(arrays[0])
    for array in arrays[1:]:
        total = combine(total, widen(array))
    store(out, _mean(arrays, total) if op == "mean" else total)


def _mean(arrays: Sequence[Array], total: Array) -> Array:
    """The sum divided; where it has left the range of numbers, the elements divided and then added."""
    xp, count = array_module(total), total.dtype.type(len(arrays))
    mean, is_large = total / count, ~xp.isfinite(total)
    if not is_large.any():
        return mean
    large = widen(arrays[0]) / count
    for array in arrays[1:]:
        large = large + widen(array) / count
    return xp.where(is_large, large, mean)


def _sum_weighted(arrays: Sequence[Array], weights: Sequence[float], out: Array) -> None:
    if len(weights) != len(arrays):
        raise ValueError(expected("rank_order_reduce", f"weights of {len(arrays)} arrays", str(len(weights))))
    total = array_module(out).zeros_like(widen(out))
    counted = [(array, weight) for array, weight in zip(arrays, weights, strict=True) if weight != 0]
    for position, (array, weight) in enumerate(counted):
        term = widen(array) * total.dtype.type(weight)
        total = term if position == 0 else total + term
    store(out, total)
