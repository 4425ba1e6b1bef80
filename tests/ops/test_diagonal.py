"""Triangles and diagonals against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(16)
OFFSETS = [-4, -2, -1, 0, 1, 3, 6]


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 5, 3), (0, 3)])
def test_triangles_and_diagonals(shape: tuple[int, ...], offset: int) -> None:
    x = RNG.normal(size=shape)
    assert np.array_equal(F.tril(wrap(x), offset).numpy(), np.tril(x, offset))
    assert np.array_equal(F.triu(wrap(x), offset).numpy(), np.triu(x, offset))
    assert np.array_equal(F.diagonal(wrap(x), offset).numpy(), np.diagonal(x, offset))


@pytest.mark.parametrize("offset", OFFSETS)
def test_diag_both_ways(offset: int) -> None:
    vector, matrix = RNG.normal(size=3), RNG.normal(size=(3, 4))
    assert np.array_equal(F.diag(wrap(vector), offset).numpy(), np.diag(vector, offset))
    assert np.array_equal(F.diag(wrap(matrix), offset).numpy(), np.diag(matrix, offset))
    assert_gradients(lambda v: F.diag(v * v, offset), vector, second=True)


def test_gradients_and_dtypes() -> None:
    x = RNG.normal(size=(2, 3, 4))
    assert_gradients(lambda v: F.tril(v * v), x, second=True)
    assert_gradients(lambda v: F.diagonal(v * v, 1), x, second=True)
    assert F.triu(F.ones((3, 3), dtype="u8"), 1).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert F.tril(F.ones((2, 2), dtype="bool")).tolist() == [[True, False], [True, True]]


def test_errors() -> None:
    with pytest.raises(ShapeError, match="tril: expected at least 2 axes"):
        F.tril(F.zeros(3))
    with pytest.raises(ShapeError, match=r"diag: expected 1 or 2 axes.*use diagonal"):
        F.diag(F.zeros((1, 2, 3)))
    with pytest.raises(TypeError, match="diagonal as an int"):
        F.tril(F.zeros((2, 2)), 0.5)
