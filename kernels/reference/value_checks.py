"""References of ops that look at values: what they promise to raise is raised eagerly and when a graph runs."""

from __future__ import annotations

from dtrain.base.errors import expected
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.check_range import check_range
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference

# Labels of −100 are what PyTorch's losses pass over.
_ADVICE = {"targets": "check the labels (ignore_index= leaves some out)"}


@reference("in_range")
def in_range(index: Array, out: Array, *, low: int, size: int, where: str, what: str) -> None:
    """The index as it is. Raises ValueError unless all of it lies in [low, size)."""
    advice = _ADVICE.get(what, f"check the {what}")
    check_range(where, index, low, size, wanted=f"{what} from {low} to {size - 1}", advice=advice)
    out[...] = index


@reference("expect_finite")
def expect_finite(x: Array, out: Array, *, where: str, what: str, advice: str) -> None:
    """x as it is. Raises RuntimeError if an element is infinite or NaN."""
    is_finite = array_module(x).isfinite(widen(x))
    if not is_finite.all():
        raise RuntimeError(expected(where, what, str(x[~is_finite].reshape(-1)[0]), advice))
    out[...] = x


@reference("binary_cross_entropy")
def binary_cross_entropy(prediction: Array, target: Array, out: Array) -> None:
    """−t·log(p) − (1 − t)·log(1 − p), logarithms at least −100. Raises ValueError unless p lies in [0, 1] or is NaN."""
    xp = array_module(prediction)
    p, t = widen(prediction), widen(target)
    outside = (p < 0) | (p > 1)
    if outside.any():
        given = str(p[outside].reshape(-1)[0])
        advice = "apply a sigmoid, or use binary_cross_entropy_with_logits"
        raise ValueError(expected("binary_cross_entropy", "predictions in [0, 1]", given, advice))
    positive, negative = xp.maximum(xp.log(p), -100), xp.maximum(xp.log1p(-p), -100)
    store(out, -(t * positive + (1 - t) * negative))
