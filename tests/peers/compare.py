"""When two results are equal: tolerances by dtype, and the f64 result as a judge between two roundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import dtrain as dt
from peers.exchange import DTYPES, array_of, leaves_of

# Relative tolerance. A part of it is taken of the largest number of a tensor, and a hundredth of 1: sums of numbers
# that cancel are as good as those numbers, and samples are of size 1.
TOLERANCES = {dt.float64: 1e-9, dt.float32: 2e-5, dt.float16: 4e-3, dt.bfloat16: 3e-2}
OF_LARGEST, OF_ONE = 0.3, 0.01


def difference(ours: Any, theirs: Any, truth: Callable[[], Any] = lambda: None) -> str:
    """What differs between our result and PyTorch's, in words; "" if nothing does.

    Args:
        truth: gives the same result in f64, or None. Where ours is as near to it as PyTorch's, the two are equal.
    """
    import torch

    mine, other = leaves_of(ours), leaves_of(theirs)
    if len(mine) != len(other):
        return f"{len(mine)} results, theirs {len(other)}"
    for place, (a, b) in enumerate(zip(mine, other)):
        if isinstance(b, torch.Tensor):
            if not isinstance(a, dt.Tensor):
                return f"a {type(a).__name__}, theirs {tuple(b.shape)} {b.dtype}"
            exact = lambda place=place: _leaf(truth(), place)  # noqa: E731
            found = _tensor_difference(a, b, exact)
        else:
            found = "" if type(a) is type(b) and (a == b or (a != a and b != b)) else f"{a!r}, theirs {b!r}"
        if found:
            return found if len(other) == 1 else f"result {place}: {found}"
    return ""


def _leaf(value: Any, place: int) -> Any:
    leaves = leaves_of(value)
    return leaves[place] if value is not None and place < len(leaves) else None


def _tensor_difference(a: dt.Tensor, b: Any, truth: Callable[[], Any]) -> str:
    if b.dtype not in DTYPES:
        return f"dtype {a.dtype}, theirs {b.dtype}"
    if tuple(a.shape) != tuple(b.shape):
        return f"shape {tuple(a.shape)}, theirs {tuple(b.shape)}"
    if a.dtype is not DTYPES[b.dtype]:
        return f"dtype {a.dtype}, theirs {b.dtype}"
    return numbers_difference(np.asarray(a.detach().numpy()), array_of(b), truth, TOLERANCES.get(a.dtype, 0.0))


def numbers_difference(a: np.ndarray, b: np.ndarray, truth: Callable[[], Any], tolerance: float) -> str:
    """The first element where two arrays of one shape differ by more than the tolerance, in words."""
    if not tolerance:
        wrong = a != b
        return _first(a, b, wrong) if wrong.any() else ""
    mine, other = a.astype(np.float64), b.astype(np.float64)
    wrong = _apart(mine, other, tolerance)
    if wrong.any():
        exact = truth()
        if exact is not None and tuple(exact.shape) == a.shape:
            right = array_of(exact).astype(np.float64)
            with np.errstate(all="ignore"):
                wrong &= _apart(mine, right, tolerance) & ~(np.abs(mine - right) <= 2 * np.abs(other - right))
    return _first(a, b, wrong) if wrong.any() else ""


def _apart(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    finite = np.abs(b[np.isfinite(b)])
    largest = finite.max() if finite.size else 0.0
    return ~np.isclose(a, b, rtol=tolerance, atol=tolerance * max(OF_LARGEST * largest, OF_ONE), equal_nan=True)


def _first(a: np.ndarray, b: np.ndarray, wrong: np.ndarray) -> str:
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{a[where]} at {where}, theirs {b[where]} ({int(wrong.sum())} of {a.size} apart)"
