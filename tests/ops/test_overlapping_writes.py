"""Writes into a tensor from a part of itself that overlaps: the right side is read first, eager and traced alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain.kernels.device_arrays import overwrite

NUMBERS = np.arange(12.0)


def item(x: Any) -> None:
    x[3:6] = x[2:9:3]


def copied(x: Any) -> None:
    x[3:6].copy_(x[2:9:3])


def assigned(x: Any) -> None:
    x[3:6].assign_(x[2:9:3])


def wide_target(x: Any) -> None:
    x[0:9:3] = x[1:4]


def shifted(x: Any) -> None:
    x[1:] = x[:-1]


WRITES: list[tuple[Callable[[Any], None], slice, slice | None]] = [
    (item, slice(3, 6), slice(2, 9, 3)),
    (copied, slice(3, 6), slice(2, 9, 3)),
    (assigned, slice(3, 6), slice(2, 9, 3)),
    (wide_target, slice(0, 9, 3), slice(1, 4)),
    (shifted, slice(1, None), slice(None, -1)),
]


@pytest.mark.parametrize(("write", "target", "source"), WRITES)
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_the_right_side_is_read_first(write: Any, target: slice, source: slice, dtype: Any) -> None:
    right = NUMBERS.astype(dtype)
    right[target] = right[source].copy()

    def step(x: dt.Tensor) -> dt.Tensor:
        write(x)
        return x * 1

    for run in (step, dt.trace(step)):
        x = dt.tensor(NUMBERS.astype(dtype))
        assert run(x).tolist() == right.tolist()
        assert x.tolist() == right.tolist()


def test_a_row_from_a_column_of_the_same_matrix() -> None:
    def step(x: Any) -> Any:
        x[1, :] = x[:, 2]
        return x * 1

    for run in (step, dt.trace(step)):
        assert run(dt.tensor(NUMBERS[:9].reshape(3, 3).copy())).tolist() == [[0, 1, 2], [2, 5, 8], [6, 7, 8]]


def test_elements_that_are_repeated() -> None:
    x = dt.tensor(NUMBERS.copy())
    x[2:8].reshape(2, 3)[...] = x[3:6]
    assert x[2:8].tolist() == [3, 4, 5, 3, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_any_two_parts_of_one_array(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(20):
        length, size = int(random.integers(1, 6)), 40
        parts = []
        for _ in range(2):
            step = int(random.choice([-5, -3, -2, -1, 1, 2, 3, 5]))
            reach = (length - 1) * abs(step)
            low = int(random.integers(0, size - reach))
            places = np.arange(low, low + reach + 1, abs(step))
            parts.append(places if step > 0 else places[::-1])
        target, source = parts
        array = np.arange(float(size))
        right = array.copy()
        right[target] = array[source]
        overwrite(_view(array, target), _view(array, source))
        assert array.tolist() == right.tolist()


def _view(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The places as a view: `places` is evenly spaced."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    return np.lib.stride_tricks.as_strided(array[places[0] :], (len(places),), (step * array.itemsize,))
