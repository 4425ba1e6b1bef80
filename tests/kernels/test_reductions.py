"""How far sums of many terms are off, and what compiled ones refuse."""

from __future__ import annotations

from collections.abc import Callable
from math import fsum

import numpy as np
import pytest
from helpers.kernel_checks import COMPILED, outputs_for, run

from dtrain.kernels import Candidate, reference_of
from dtrain.kernels.call import Call

SUMS = [candidate for candidate in COMPILED if candidate.op in ("sum", "mean")]

pytestmark = pytest.mark.skipif(not SUMS, reason="the compiled module is not built")

COUNT = 1_000_000

DRAWS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "uniform": lambda random: random.uniform(0, 1, COUNT),
    "alike": lambda random: np.full(COUNT, 0.1),
    "of all sizes": lambda random: np.exp(random.uniform(-20, 20, COUNT)),
    "ascending": lambda random: np.arange(COUNT) + 0.3,
    "one large one first": lambda random: np.concatenate([[1e8], random.uniform(0, 1, COUNT - 1)]),
}


def result_of(candidate: Candidate, x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    case = Call(op=candidate.op, inputs=(x.astype(np.float64),), attrs={"axis": axis, "keepdims": False})
    (out,) = outputs = outputs_for(case, candidate)
    run(candidate, case, [x], outputs)
    return out


def shape_and_axis(candidate: Candidate) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A million terms of each sum."""
    return ((COUNT, 1, 2), (0,)) if "columns" in candidate.name else ((COUNT,), (0,))


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("candidate", SUMS, ids=lambda candidate: candidate.name)
def test_a_million_positive_terms(candidate: Candidate, draw: str) -> None:
    """No further off than two steps of the dtype, or than the reference: NumPy's pairwise sum, for one column."""
    dtype = np.dtype(np.float32 if "_f32_" in candidate.name else np.float64)
    terms = DRAWS[draw](np.random.default_rng(0)).astype(dtype)
    shape, axis = shape_and_axis(candidate)
    x = np.ascontiguousarray(np.broadcast_to(terms.reshape(-1, *(1,) * (len(shape) - 1)), shape))
    exact = fsum(terms.tolist()) / (COUNT if candidate.op == "mean" else 1)
    wanted = np.empty((), dtype)
    reference_of(candidate.op).function(terms, out=wanted, axis=(0,), keepdims=False)
    nearly = 2 * np.finfo(dtype).eps * exact
    for got in result_of(candidate, x, axis).ravel():
        assert abs(float(got) - exact) <= max(abs(float(wanted) - exact), nearly)


@pytest.mark.parametrize("candidate", SUMS, ids=lambda candidate: candidate.name)
def test_refuses_what_it_cannot_add_up(candidate: Candidate) -> None:
    x = np.ones((2, 3, 2, 3), np.float32 if "_f32_" in candidate.name else np.float64)
    out = np.empty(36, x.dtype)
    for axis, error in [
        ((4,), ValueError),
        ((-5,), ValueError),
        (1, TypeError),
        (("0",), TypeError),
        ((0, 2), ValueError),
    ]:
        with pytest.raises(error):
            candidate.function(x, out=out[:9], axis=axis, keepdims=False)
    with pytest.raises(ValueError):
        candidate.function(x, out=out[:5], axis=(3,), keepdims=False)
    with pytest.raises(ValueError):
        candidate.function(x[:0], out=out[:0], axis=(3,), keepdims=False)
