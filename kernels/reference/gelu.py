"""GELU and its gradient. f16 and bf16 compute in f32 and are rounded once."""

from __future__ import annotations

from math import pi, sqrt

from dtrain.base.layout import LAID_OUT
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.reference.special import erf_of
from dtrain.kernels.registry import reference

# The tanh form: √(2/π) · (x + 0.044715 x³) (Hendrycks, Gimpel 2016).
GELU_SCALE, GELU_CUBIC = sqrt(2 / pi), 0.044715


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
