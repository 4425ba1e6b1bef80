"""Matrix products through the array module's BLAS. Transposes are passed as views, which BLAS takes as flags."""

from __future__ import annotations

from math import prod

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.registry import reference


@reference("matmul")
def matmul(a: Array, b: Array, out: Array, *, transpose_a: bool, transpose_b: bool) -> None:
    """out = a·b over the last two axes, each operand transposed where asked for."""
    if transpose_a:
        a = a.swapaxes(-1, -2)
    if transpose_b:
        b = b.swapaxes(-1, -2)
    xp = array_module(a)
    if accumulation_dtype(a.dtype) is a.dtype:
        xp.matmul(a, b, out=out)
    else:
        store(out, xp.matmul(widen(a), widen(b)))


@reference("linear")
def linear(x: Array, weight: Array, *bias: Array, out: Array) -> None:
    """out = x·weightᵀ + bias, all leading axes of x taken as rows of one product."""
    xp = array_module(x)
    if accumulation_dtype(x.dtype) is not x.dtype:
        y = xp.matmul(widen(x), widen(weight).T)
        store(out, y + widen(bias[0]) if bias else y)
        return
    if x.ndim > 2:
        rows = prod(x.shape[:-1])
        x, out = x.reshape(rows, x.shape[-1]), out.reshape(rows, out.shape[-1])
    xp.matmul(x, weight.T, out=out)
    if bias:
        xp.add(out, bias[0], out=out)
