"""Gradient clipping, by norm over all parameters or by value, eagerly and inside traced functions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import dtrain.functional as F
from dtrain.base.dtype import float32, float64
from dtrain.base.errors import expected
from dtrain.core.context import no_grad
from dtrain.core.reducer import reduce_waiting
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.core.tensor_gradient import grad_where_it_lies
from dtrain.ops.value_checks import expect_finite


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients so that their norm, taken together, is at most `max_norm` (Pascanu et al. 2013).

    Args:
        norm_type: p of the p-norm; math.inf for the largest absolute value.
        error_if_nonfinite: raise RuntimeError in place of clipping where the norm is infinite or NaN: at once, or
            when a traced function runs.

    Returns:
        The norm before clipping, 0-d, f32 (f64 for f64 gradients).
    """
    if not max_norm >= 0:
        raise ValueError(expected("clip_grad_norm_", "max_norm of at least 0", repr(max_norm)))
    if not norm_type > 0:
        raise ValueError(expected("clip_grad_norm_", "norm_type above 0", repr(norm_type)))
    with no_grad():
        pairs = _with_gradient(parameters)
        if not pairs:
            return zeros(())
        wide = float64 if any(gradient.dtype is float64 for _, gradient in pairs) else float32
        total = _norm([gradient.to(wide) for _, gradient in pairs], norm_type)
        if error_if_nonfinite:
            advice = "look for the overflow, or pass error_if_nonfinite=False"
            total = expect_finite(total, where="clip_grad_norm_", what="a finite norm of the gradients", advice=advice)
        scale = F.minimum(max_norm / (total + 1e-6), 1.0)
        for parameter, gradient in pairs:
            # A short float would hold few digits of a small scale.
            parameter.grad = (gradient.to(wide) * scale).to(gradient.dtype)
        return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [−clip_value, clip_value]."""
    if not clip_value >= 0:
        raise ValueError(expected("clip_grad_value_", "clip_value of at least 0", repr(clip_value)))
    with no_grad():
        for parameter, gradient in _with_gradient(parameters):
            parameter.grad = F.clip(gradient, -clip_value, clip_value)


def _with_gradient(parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    reduce_waiting(listed)  # what this rank alone has says nothing of the size of the whole
    pairs = [(parameter, grad_where_it_lies(parameter)) for parameter in listed]
    return [(parameter, gradient) for parameter, gradient in pairs if gradient is not None]


def _norm(gradients: list[Tensor], norm_type: float) -> Tensor:
    """One number for all, summed in the order given so that every rank gets the same bits."""
    if math.isinf(norm_type):
        largest = [abs(gradient).amax() for gradient in gradients]
        total = largest[0]
        for other in largest[1:]:
            total = F.maximum(total, other)
        return total
    if norm_type != 2:
        return F.norm(F.stack([F.norm(gradient, norm_type) for gradient in gradients]), norm_type)
    powers = [(gradient * gradient).sum() for gradient in gradients]
    total = powers[0]
    for other in powers[1:]:
        total = total + other
    return F.sqrt(total)
