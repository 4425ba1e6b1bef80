"""Softmax and log-softmax along one axis, and their gradients from the output."""

from __future__ import annotations

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference


def _shifted(x: Array, axis: int) -> Array:
    wide = widen(x)
    return wide - wide.max(axis=axis, keepdims=True) if x.size else wide


@reference("softmax")
def softmax(x: Array, out: Array, *, axis: int) -> None:
    """exp(x) / Σ exp(x)."""
    exponentials = array_module(x).exp(_shifted(x, axis))
    store(out, exponentials / exponentials.sum(axis=axis, keepdims=True))


@reference("softmax_backward")
def softmax_backward(grad: Array, y: Array, out: Array, *, axis: int) -> None:
    """dx = y · (grad − Σ grad · y)."""
    wide_grad, wide_y = widen(grad), widen(y)
    store(out, wide_y * (wide_grad - (wide_grad * wide_y).sum(axis=axis, keepdims=True)))


@reference("log_softmax")
def log_softmax(x: Array, out: Array, *, axis: int) -> None:
    """x − log Σ exp(x)."""
    xp, shifted = array_module(x), _shifted(x, axis)
    store(out, shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True)))


@reference("log_softmax_backward")
def log_softmax_backward(grad: Array, y: Array, out: Array, *, axis: int) -> None:
    """dx = grad − exp(y) · Σ grad."""
    wide_grad = widen(grad)
    store(out, wide_grad - array_module(y).exp(widen(y)) * wide_grad.sum(axis=axis, keepdims=True))
