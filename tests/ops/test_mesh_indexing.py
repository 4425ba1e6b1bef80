"""Mesh indexing against np.ix_: reading, writing and adding, in one to four axes, batched or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(15)

CASES = {
    "one axis": ((11,), ([5, 0, -1, 5, 3],)),
    "two axes": ((6, 7), ([0, -2, 0], [6, 5, 4, 3, 2, 2, 1])),
    "leaves axes out": ((4, 7, 1), ([3, 1],)),
    "slices only": ((7, 4, 2), (slice(1, None, 2), slice(None), slice(0, 1))),
    "slice between": ((4, 5, 6), ([1, 1], slice(3, 0, -2), [0, -1, 2])),
    "four axes": ((7, 2, 3, 4), ([6, 0], slice(None), [2, 2, 0], slice(1, None, 2))),
    "empty vector": ((4, 5), (np.zeros(0, dtype=np.int64), [1])),
}


def by_numpy(shape: tuple[int, ...], index: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
    positions = [np.arange(n)[entry] if isinstance(entry, slice) else np.array(entry) for n, entry in zip(shape, index)]
    return np.ix_(*positions)


@pytest.mark.parametrize(("shape", "index"), CASES.values(), ids=CASES.keys())
def test_mesh_equals_numpy(shape, index) -> None:
    x, crossing = RNG.normal(size=shape), by_numpy(shape, index)
    assert np.array_equal(F.mesh_get(wrap(x), index).numpy(), x[crossing])
    values = RNG.normal(size=x[crossing].shape)
    written, added = x.copy(), x.copy()
    written[crossing] = values
    np.add.at(added, crossing, values)
    assert np.array_equal(F.mesh_set(wrap(x), index, wrap(values)).numpy(), written)
    np.testing.assert_allclose(F.mesh_add(wrap(x), index, wrap(values)).numpy(), added, rtol=1e-12)
    assert_gradients(lambda a: F.mesh_get(a, index), x)
    assert_gradients(lambda a, b: F.mesh_set(a, index, b), x, values)
    assert_gradients(lambda a, b: F.mesh_add(a, index, b), x, values)


def test_batched() -> None:
    x = RNG.normal(size=(3, 4, 5))
    rows = RNG.integers(-4, 4, (3, 2))
    columns = np.array([[0, 1, 1], [4, 4, 4], [-1, 0, 2]])
    index = (rows, columns)
    wanted = np.stack([x[n][np.ix_(rows[n], columns[n])] for n in range(3)])
    assert np.array_equal(F.mesh_get(wrap(x), index, is_batched=True).numpy(), wanted)
    values = RNG.normal(size=wanted.shape)
    written, added = x.copy(), x.copy()
    for n in range(3):
        written[n][np.ix_(rows[n], columns[n])] = values[n]
        np.add.at(added[n], np.ix_(rows[n], columns[n]), values[n])
    assert np.array_equal(F.mesh_set(wrap(x), index, wrap(values), is_batched=True).numpy(), written)
    np.testing.assert_allclose(F.mesh_add(wrap(x), index, wrap(values), is_batched=True).numpy(), added, rtol=1e-12)


def test_batched_slices_and_vectors() -> None:
    x = RNG.normal(size=(2, 4, 5))
    assert np.array_equal(F.mesh_get(wrap(x), (slice(1, 3),), is_batched=True).numpy(), x[:, 1:3])
    columns = np.array([[0, 4], [2, 2]])
    wanted = np.stack([x[n, ::2][:, columns[n]] for n in range(2)])
    assert np.array_equal(F.mesh_get(wrap(x), (slice(None, None, 2), columns), is_batched=True).numpy(), wanted)
    assert np.array_equal(
        F.mesh_set(wrap(x), (slice(1, 3), slice(2)), 0.0, is_batched=True).numpy()[:, 1:3, :2].sum(), 0
    )


def test_errors() -> None:
    x = F.zeros((4, 5))
    with pytest.raises(ShapeError, match="at most 2 entries"):
        F.mesh_get(x, ([0], [0], [0]))
    with pytest.raises(ShapeError, match="a vector of integers or a slice for axis 1"):
        F.mesh_get(x, ([0], [[0]]))
    with pytest.raises(ShapeError, match=r"integers of shape \(4, k\) or a slice"):
        F.mesh_get(x, ([0],), is_batched=True)
    with pytest.raises(IndexError, match="expected index values from"):
        F.mesh_get(x, ([4], [0]))
