"""Activations and their gradients. `grad` comes first; then x, or y where the output says enough.

f16 and bf16 compute in f32 and are rounded once.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.activation_backward import where_sloped
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.reference.special import erf_of
from dtrain.kernels.registry import reference

# The tanh form of GELU: √(2/π) · (x + 0.044715 x³) (Hendrycks, Gimpel 2016).
GELU_SCALE, GELU_CUBIC = sqrt(2 / pi), 0.044715


@reference("relu", layouts=LAID_OUT)
def relu(x: Array, out: Array) -> None:
    """max(x, 0); NaN stays."""
    np.maximum(x, x.dtype.type(0), out=out)


@reference("relu6", layouts=LAID_OUT)
def relu6(x: Array, out: Array) -> None:
    """min(max(x, 0), 6)."""
    np.maximum(x, x.dtype.type(0), out=out)
    np.minimum(out, x.dtype.type(6), out=out)


@reference("relu6_backward", layouts=LAID_OUT)
def relu6_backward(grad: Array, y: Array, out: Array) -> None:
    """dx = grad where the output lies strictly between its limits."""
    out[...] = where_sloped((y > 0) & (y < 6), grad, y)


@reference("leaky_relu", layouts=LAID_OUT)
def leaky_relu(x: Array, out: Array, *, negative_slope: float) -> None:
    """x, or negative_slope · x below 0."""
    wide = widen(x)
    store(out, array_module(x).where(wide > 0, wide, wide * negative_slope))


@reference("leaky_relu_backward", layouts=LAID_OUT)
def leaky_relu_backward(grad: Array, x: Array, out: Array, *, negative_slope: float) -> None:
    """dx = grad, or negative_slope · grad where x is not positive."""
    wide = widen(grad)
    store(out, where_sloped(x == x, array_module(x).where(x > 0, wide, wide * negative_slope), widen(x)))


@reference("elu", layouts=LAID_OUT)
def elu(x: Array, out: Array, *, alpha: float) -> None:
    """x, or alpha · (eˣ − 1) below 0."""
    xp, wide = array_module(x), widen(x)
    store(out, xp.where(wide > 0, wide, xp.expm1(xp.minimum(wide, 0)) * alpha))


@reference("elu_backward", layouts=LAID_OUT)
def elu_backward(grad: Array, x: Array, out: Array, *, alpha: float) -> None:
    """dx = grad, or grad · alpha · eˣ where x is not positive."""
    xp, wide = array_module(x), widen(x)
    store(out, widen(grad) * xp.where(wide > 0, 1, xp.exp(xp.minimum(wide, 0)) * alpha).astype(wide.dtype))


def sigmoid_of(x: Array) -> Array:
    """1 / (1 + e⁻ˣ) without overflow on either side."""
    xp = array_module(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, small) / (1 + small)


@reference("sigmoid", layouts=LAID_OUT)
def sigmoid(x: Array, out: Array) -> None:
    """1 / (1 + e⁻ˣ)."""
    store(out, sigmoid_of(widen(x)))


@reference("sigmoid_backward", layouts=LAID_OUT)
def sigmoid_backward(grad: Array, y: Array, out: Array) -> None:
    """dx = grad · y · (1 − y)."""
    wide = widen(y)
    store(out, widen(grad) * (wide * (1 - wide)))


@reference("tanh_backward", layouts=LAID_OUT)
def tanh_backward(grad: Array, y: Array, out: Array) -> None:
    """dx = grad · (1 − y²)."""
    wide = widen(y)
    store(out, widen(grad) * (1 - wide * wide))


@reference("silu", layouts=LAID_OUT)
def silu(x: Array, out: Array) -> None:
    """x · sigmoid(x)."""
    wide = widen(x)
    store(out, wide * sigmoid_of(wide))


@reference("silu_backward", layouts=LAID_OUT)
def silu_backward(grad: Array, x: Array, out: Array) -> None:
    """dx = grad · s · (1 + x · (1 − s)), s = sigmoid(x)."""
    wide = widen(x)
    gate = sigmoid_of(wide)
    store(out, widen(grad) * (gate * (1 + wide * (1 - gate))))


@reference("hsigmoid", layouts=LAID_OUT)
def hsigmoid(x: Array, out: Array) -> None:
    """min(max(x + 3, 0), 6) / 6."""
    store(out, array_module(x).clip(widen(x) + 3, 0, 6) / 6)


@reference("hsigmoid_backward", layouts=LAID_OUT)
def hsigmoid_backward(grad: Array, y: Array, out: Array) -> None:
    """dx = grad / 6 where the output lies strictly between 0 and 1."""
    store(out, where_sloped((y > 0) & (y < 1), widen(grad) / 6, widen(y)))


@reference("hswish", layouts=LAID_OUT)
def hswish(x: Array, out: Array) -> None:
    """x · min(max(x + 3, 0), 6) / 6."""
    wide = widen(x)
    store(out, wide * array_module(x).clip(wide + 3, 0, 6) / 6)


@reference("hswish_backward", layouts=LAID_OUT)
def hswish_backward(grad: Array, x: Array, out: Array) -> None:
    """dx = grad · (0 up to −3, (2x + 3) / 6 up to 3, then 1)."""
    xp, wide = array_module(x), widen(x)
    slope = xp.where(wide < 3, (2 * wide + 3) / 6, 1).astype(wide.dtype)
    store(out, where_sloped(wide > -3, widen(grad) * slope, wide))


@reference("softplus", layouts=LAID_OUT)
def softplus(x: Array, out: Array, *, beta: float) -> None:
    """log(1 + exp(beta·x)) / beta, without overflow."""
    xp = array_module(x)
    wide = widen(x) * beta
    store(out, (xp.maximum(wide, 0) + xp.log1p(xp.exp(-xp.abs(wide)))) / beta)


@reference("softplus_backward", layouts=LAID_OUT)
def softplus_backward(grad: Array, x: Array, out: Array, *, beta: float) -> None:
    """dx = grad · sigmoid(beta·x)."""
    store(out, widen(grad) * sigmoid_of(widen(x) * beta))


def _gelu_tanh(x: Array) -> Array:
    return array_module(x).tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x))


@reference("gelu", layouts=LAID_OUT)
def gelu(x: Array, out: Array, *, approximate: str) -> None:
    """x · Φ(x), Φ the normal distribution; with approximate "tanh" through the tanh form."""
    wide = widen(x)
    inner = _gelu_tanh(wide) if approximate == "tanh" else erf_of(wide * sqrt(0.5))
    store(out, 0.5 * wide * (1 + inner))


@reference("gelu_backward", layouts=LAID_OUT)
def gelu_backward(grad: Array, x: Array, out: Array, *, approximate: str) -> None:
    """dx = grad · (Φ(x) + x · Φ′(x))."""
    wide = widen(x)
    if approximate == "tanh":
        inner = _gelu_tanh(wide)
        density = 0.5 * (1 - inner * inner) * GELU_SCALE * (1 + 3 * GELU_CUBIC * wide * wide)
    else:
        inner = erf_of(wide * sqrt(0.5))
        density = array_module(x).exp(-0.5 * wide * wide) * (1 / sqrt(2 * pi))
    store(out, widen(grad) * (0.5 * (1 + inner) + wide * density))
