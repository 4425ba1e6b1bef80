"""From samples to batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import dtrain as dt
from dtrain.data.collate import collate, empty_like, map_arrays, to_tensors


def test_nested_samples_are_stacked():
    batch = collate([{"x": (np.ones(2), 1), "name": "a"}, {"x": (np.zeros(2), 2), "name": "b"}])
    assert batch["name"] == ["a", "b"]
    assert batch["x"][0].tolist() == [[1, 1], [0, 0]] and batch["x"][1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("sample", "dtype"), [(1.5, np.float32), (3, np.int64), (True, np.bool_), (np.float64(2), np.float64)]
)
def test_numbers_become_arrays(sample, dtype):
    assert collate([sample, sample]).dtype == dtype


def test_tensors_are_stacked_too():
    assert collate([dt.tensor([1.0]), dt.tensor([2.0])]).tolist() == [[1], [2]]


def test_samples_must_agree():
    with pytest.raises(ValueError, match=r"samples of one shape, got \(2,\) and \(3,\); pad or crop"):
        collate([np.zeros(3), np.zeros(2)])
    with pytest.raises(ValueError, match="samples with as many parts each, got 1, 2"):
        collate([(1, 2), (1,)])
    with pytest.raises(TypeError, match="numbers, arrays or tensors, got object"):
        collate([object()])


def test_an_empty_batch_keeps_structure_and_dtype():
    images, names = empty_like(collate([(np.zeros((2, 3), np.float32), 7)]))
    assert images.shape == (0, 2, 3) and images.dtype == np.float32 and names.shape == (0,)


class Pair(NamedTuple):
    first: np.ndarray
    second: str


def test_tensors_share_memory_and_structure_stays():
    array = np.zeros(2, np.float32)
    pair = to_tensors(Pair(array, "text"))
    assert isinstance(pair, Pair) and pair.second == "text" and pair.first.array is array
    assert map_arrays([array], len) == [2]
