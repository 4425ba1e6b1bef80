"""Gradients of activations that NumPy would need several passes for."""

from __future__ import annotations

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.registry import reference


def where_sloped(sloped: Array, grad: Array, value: Array) -> Array:
    """grad where the formula has a slope, 0 where it is flat; NaN where the value is NaN, so that it stays visible."""
    xp = array_module(grad)
    return xp.where(sloped, grad, xp.where(value != value, value, value.dtype.type(0)).astype(grad.dtype, copy=False))


@reference("relu_backward", layouts=LAID_OUT)
def relu_backward(grad: Array, y: Array, out: Array) -> None:
    """dx = grad where the output y (or, equally, the input) is positive, else 0."""
    out[...] = where_sloped(y > 0, grad, y)
