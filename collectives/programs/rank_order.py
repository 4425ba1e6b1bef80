"""The rule of summation: every element is reduced over the ranks in rank order, by whoever owns its slice.

This is the only arithmetic in the collectives. Because no element's result depends on where slices are cut or how
arrays are packed, all ranks hold bitwise equal results, runs repeat bitwise, and packing cannot change numbers.
`dtrain.kernels` has compiled kernels for it (`rank_order_reduce`); NumPy serves where they are not built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dtrain.base.dtype import DType, bfloat16, float16, from_numpy
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import tensor_type
from dtrain.collectives.programs.weighing import Coefficients
from dtrain.kernels.policy import when_policy_changes

Array = npt.NDArray[Any]
ReduceOp = Literal["sum", "mean", "min", "max", "prod"]
# Numbers, one an array: the sum of the arrays multiplied with them.
Reduction = ReduceOp | Coefficients

REDUCE_OPS: tuple[ReduceOp, ...] = get_args(ReduceOp)

# Elements. Small enough that scratch and parts stay cached between two passes over them.
_BLOCK = 8192
_COPIED_BLOCK = 16384

_COMBINE: dict[str, Callable[..., Array]] = {
    "sum": np.add,
    "mean": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "prod": np.multiply,
}


def check_reduction(where: str, op: str, dtype: DType) -> ReduceOp:
    """Return `op` as a `ReduceOp`, or say why it cannot be done for `dtype`.

    Raises:
        ValueError: an unknown reduce op.
        DtypeError: the mean of integers or booleans, which has no exact result in their dtype.
    """
    if op not in REDUCE_OPS:
        raise ValueError(expected(where, "op to be one of " + ", ".join(REDUCE_OPS), repr(op)))
    if op == "mean" and not dtype.is_floating:
        raise DtypeError(
            expected(
                where, "a floating dtype for op='mean'", dtype.tag, "use op='sum' and divide, or cast to f32 first"
            )
        )
    return op


def reduce_in_rank_order(parts: Sequence[Array], op: Reduction, out: Array, *more_outs: Array) -> None:
    """Reduce `parts[0] ∘ parts[1] ∘ …` element by element, from left to right, into `out` and `more_outs`.

    f16 and bf16 accumulate in f32 and round once; integers wrap; booleans read sum and max as "or", prod and min as
    "and"; min and max propagate NaN. Outputs may be parts, whole and unshifted.

    Args:
        parts: one flat array per rank, in rank order, all of one dtype and length.
        op: the reduction; "mean" divides the sum by the number of parts; coefficients give (c₀·p₀ + c₁·p₁) + …, where
            a part with coefficient 0 is not read.
        out, more_outs: flat, same dtype and length as each part; all get the same result.
    """
    kernel = _compiled_kernel(out.dtype)
    if kernel is not None and not more_outs:
        kernel(*parts, out=out, **_named(op))
    elif kernel is not None:
        _reduce_to_all(kernel, parts, op, (out, *more_outs))
    else:
        reduce_by_blocks(parts, op, out, *more_outs)


@cache
def _compiled_kernel(dtype: np.dtype[Any]) -> Callable[..., None] | None:
    """The compiled `rank_order_reduce` for `dtype`, or None where nothing is compiled."""
    from dtrain.kernels import Problem, choose

    part = tensor_type((1,), from_numpy(dtype))
    kernel = choose(Problem("rank_order_reduce", [part], [part]))
    return None if kernel.is_reference else kernel.function


when_policy_changes(_compiled_kernel.cache_clear)


def _reduce_to_all(kernel: Callable[..., None], parts: Sequence[Array], op: Reduction, outs: Sequence[Array]) -> None:
    """Reduce block by block into scratch and copy each block while it is cached: outputs may be any of the parts."""
    scratch = np.empty(min(_COPIED_BLOCK, outs[0].size), outs[0].dtype)
    for start in range(0, outs[0].size, _COPIED_BLOCK):
        stop = min(start + _COPIED_BLOCK, outs[0].size)
        block = scratch[: stop - start]
        kernel(*[part[start:stop] for part in parts], out=block, **_named(op))
        for out in outs:
            out[start:stop] = block


def _named(op: Reduction) -> dict[str, Any]:
    """The reduction as attributes of the kernel."""
    return {"op": op} if isinstance(op, str) else {"op": "weighted", "weights": op}


def reduce_by_blocks(parts: Sequence[Array], op: Reduction, out: Array, *more_outs: Array) -> None:
    """`reduce_in_rank_order` in NumPy: what serves where no kernel is compiled, and what the kernels must equal."""
    short = from_numpy(out.dtype) in (float16, bfloat16)
    block = min(_BLOCK, out.size)
    scratch = np.empty((2, block), np.float32 if short else out.dtype)
    with np.errstate(all="ignore"):  # overflow is a result (inf), not a warning of the collective
        for start in range(0, out.size, _BLOCK):
            stop = min(start + _BLOCK, out.size)
            total = _reduce_block([part[start:stop] for part in parts], op, scratch[:, : stop - start])
            for target in (out, *more_outs):
                np.copyto(target[start:stop], total, casting="unsafe")


def _reduce_block(parts: Sequence[Array], op: Reduction, scratch: Array) -> Array:
    """Reduce one block in `scratch` (2, block), which is cached, so that outputs may alias any of the parts."""
    total: Array = scratch[0]
    term: Array = scratch[1]
    if not isinstance(op, str):
        return _weighted_block(parts, op, total, term)
    combine = _COMBINE[op]
    if len(parts) == 1 or total.dtype != parts[0].dtype:
        np.copyto(total, parts[0], casting="unsafe")
        for part in parts[1:]:
            np.copyto(term, part, casting="unsafe")
            combine(total, term, out=total)
    else:
        combine(parts[0], parts[1], out=total)
        for part in parts[2:]:
            combine(total, part, out=total)
    if op == "mean":
        _divide(total, parts, term)
    return total


def _divide(total: Array, parts: Sequence[Array], term: Array) -> None:
    """The mean from the sum; where that has left the range of numbers, parts are divided and then added."""
    count = total.dtype.type(len(parts))
    is_large = ~np.isfinite(total)
    np.divide(total, count, out=total)
    if is_large.any():
        for position, part in enumerate(parts):
            np.copyto(term, part, casting="unsafe")
            np.divide(term, count, out=term)
            np.copyto(total, total + term if position else term, where=is_large)


def _weighted_block(parts: Sequence[Array], coefficients: Coefficients, total: Array, term: Array) -> Array:
    counted = [(part, coefficient) for part, coefficient in zip(parts, coefficients, strict=True) if coefficient != 0]
    if not counted:
        total[...] = 0
    for position, (part, coefficient) in enumerate(counted):
        into = term if position else total
        np.copyto(into, part, casting="unsafe")
        np.multiply(into, total.dtype.type(coefficient), out=into)
        if position:
            np.add(total, term, out=total)
    return total
