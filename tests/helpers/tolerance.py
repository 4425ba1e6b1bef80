"""How far two correct computations of one result may lie apart: one formula of dtype, length and magnitude."""

from __future__ import annotations

from math import sqrt

import numpy as np

from dtrain.base.dtype import DTypeLike, as_dtype

# Unit roundoff doubled, the distance from 1 to the next number: 2^-10, 2^-7, 2^-23, 2^-52.
_EPSILON = {"f16": 2.0**-10, "bf16": 2.0**-7, "f32": 2.0**-23, "f64": 2.0**-52}


def tolerance(dtype: DTypeLike, *, length: int = 1, magnitude: float = 1.0) -> tuple[float, float]:
    """(rtol, atol) for a result in `dtype`.

    A sum of `length` terms is off by about √length roundings of its terms; four of those leave room for a few more
    operations and for the tail of the distribution. f16 and bf16 accumulate in f32 and are rounded once, so their
    length does not count. Integers and booleans must be equal.

    Args:
        dtype: of the result that is checked.
        length: how many terms are added for one element of the result.
        magnitude: the size of a typical term, which decides where a result cancels to less.
    """
    tag = as_dtype(dtype).tag
    if tag not in _EPSILON:
        return 0.0, 0.0
    terms = length if tag in ("f32", "f64") else 1
    relative = 4 * _EPSILON[tag] * sqrt(max(terms, 1))
    return relative, relative * magnitude


def magnitude_of(result: np.ndarray) -> float:
    """The size of the largest finite element, at least 1: what a result is off by grows with it."""
    sizes = np.abs(result.astype(np.float64))
    return float(sizes[np.isfinite(sizes)].max(initial=1.0))


def assert_close(
    got: np.ndarray, wanted: np.ndarray, *, length: int = 1, magnitude: float = 1.0, what: str = ""
) -> None:
    """Compare with `tolerance` of the dtype of `got`; NaN equals NaN."""
    assert got.shape == wanted.shape, (what, got.shape, wanted.shape)
    rtol, atol = tolerance(got.dtype, length=length, magnitude=magnitude)
    wide = np.float64 if got.dtype.kind in "fV" else got.dtype
    np.testing.assert_allclose(got.astype(wide), wanted.astype(wide), rtol=rtol, atol=atol, err_msg=what)
