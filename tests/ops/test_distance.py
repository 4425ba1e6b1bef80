"""Distances of rows, against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F

RANDOM = np.random.default_rng(0)


def formula(difference: np.ndarray, p: float) -> np.ndarray:
    size = np.abs(difference)
    if p == 0:
        return (size != 0).sum(-1).astype(float)
    return size.max(-1) if p == math.inf else (size**p).sum(-1) ** (1 / p)


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3.5, math.inf])
@pytest.mark.parametrize("batch", [((), ()), ((3,), (3,)), ((2, 1), (4,))])
def test_all_pairs(p: float, batch: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = RANDOM.normal(size=(*batch[0], 5, 3)), RANDOM.normal(size=(*batch[1], 4, 3))
    found = dt.cdist(x1=dt.tensor(a, dtype="f64"), x2=dt.tensor(b, dtype="f64"), p=p)
    np.testing.assert_allclose(found.numpy(), formula(a[..., :, None, :] - b[..., None, :, :], p), rtol=1e-12)


def test_a_distance_of_nothing_has_no_slope() -> None:
    a = dt.ones(1, 3, requires_grad=True)
    F.cdist(a, dt.ones(2, 3)).sum().backward()
    assert a.grad is not None and a.grad.tolist() == [[0.0] * 3]
    assert F.cdist(dt.zeros(2, 0), dt.zeros(3, 0)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("p", [1, 2, 3.5, math.inf])
@pytest.mark.parametrize("keepdim", [False, True])
def test_pairs_of_rows(p: float, keepdim: bool) -> None:
    a, b = RANDOM.normal(size=(2, 4, 3)), RANDOM.normal(size=(4, 3))
    found = F.pairwise_distance(dt.tensor(a, dtype="f64"), dt.tensor(b, dtype="f64"), p, 1e-3, keepdim=keepdim)
    wanted = formula(a - b + 1e-3, p)
    np.testing.assert_allclose(found.numpy(), wanted[..., None] if keepdim else wanted, rtol=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match="rows of one length"):
        F.cdist(dt.zeros(2, 3), dt.zeros(2, 4))
    with pytest.raises(ValueError, match="p of at least 0"):
        F.cdist(dt.zeros(2, 3), dt.zeros(2, 3), -1.0)
