"""Gradients of activations that NumPy would need several passes for."""

from __future__ import annotations

from dtrain.kernels.registry import Array, array_module, reference


@reference("relu_backward")
def relu_backward(grad: Array, y: Array, out: Array) -> None:
    """dx = grad where the output y (or, equally, the input) is positive, else 0."""
    xp = array_module(grad)
    out[...] = xp.where(y > 0, grad, xp.zeros((), dtype=grad.dtype))
