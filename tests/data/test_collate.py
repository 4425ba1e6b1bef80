"""From samples to batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import dtrain as dt
from dtrain.data.collate import collate, empty_like, map_arrays, to_tensors
from dtrain.data.dataset import Dataset
from dtrain.data.loader import DataLoader


def test_nested_samples_are_stacked():
    batch = collate([{"x": (np.ones(2), 1), "name": "a"}, {"x": (np.zeros(2), 2), "name": "b"}])
    assert batch["name"] == ["a", "b"]
    assert batch["x"][0].tolist() == [[1, 1], [0, 0]] and batch["x"][1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("sample", "dtype"), [(1.5, np.float32), (3, np.int64), (True, np.bool_), (np.float64(2), np.float64)]
)
def test_numbers_become_arrays(sample, dtype):
    assert collate([sample, sample]).dtype == dtype


@pytest.mark.parametrize(
    ("samples", "dtype", "values"),
    [
        ([1, 2.5], np.float32, [1, 2.5]),
        ([2.5, 1, True], np.float32, [2.5, 1, 1]),
        ([True, 2], np.int64, [1, 2]),
        ([2**63, 1.5], np.float32, [2.0**63, 1.5]),
        ([float("nan"), 1], np.float32, [np.nan, 1]),
        ([float("inf"), 1], np.float32, [np.inf, 1]),
        ([np.int64(1), 2.5], np.float32, [1, 2.5]),
        ([np.float64(1), 2.5], np.float64, [1, 2.5]),
        ([np.float16(1), 2.5], np.float16, [1, 2.5]),
        ([np.uint8(1), 3], np.uint8, [1, 3]),
        ([np.float32(1), np.int64(2)], np.float32, [1, 2]),
        ([np.ones(2, np.float32), np.ones(2, np.int64)], np.float32, [[1, 1], [1, 1]]),
        ([np.ones(1, np.int32), np.ones(1, np.int64)], np.int64, [[1], [1]]),
        ([dt.tensor(1.0), np.float64(2)], np.float64, [1, 2]),
    ],
    ids=str,
)
def test_numbers_of_several_kinds_follow_the_rules_of_tensors(samples, dtype, values):
    batch = collate(samples)
    assert batch.dtype == dtype
    np.testing.assert_array_equal(batch, values)


@pytest.mark.parametrize(
    "samples", [[2**63, 1], [1, -(2**63) - 1], [1e300, 1.0], [10**400, 1.0], [np.uint8(1), 256], [np.int8(1), -129]]
)
def test_a_number_that_the_batch_cannot_hold_is_refused(samples):
    with pytest.raises(ValueError, match=r"collate: expected numbers that .* holds, got"):
        collate(samples)


def test_no_samples_are_no_batch():
    with pytest.raises(ValueError, match="at least one sample, got none"):
        collate([])


def test_unsigned_64_bits_are_no_dtype_of_ours():
    with pytest.raises(TypeError, match="got uint64"):
        collate([np.uint64(1), np.int64(1)])


def test_tensors_are_stacked_too():
    assert collate([dt.tensor([1.0]), dt.tensor([2.0])]).tolist() == [[1], [2]]


def test_samples_must_agree():
    with pytest.raises(ValueError, match=r"samples of one shape, got \(2,\) and \(3,\); pad or crop"):
        collate([np.zeros(3), np.zeros(2)])
    with pytest.raises(ValueError, match="samples with as many parts each, got 1, 2"):
        collate([(1, 2), (1,)])
    with pytest.raises(TypeError, match="numbers, arrays or tensors, got object"):
        collate([object()])
    with pytest.raises(TypeError, match="numbers, arrays or tensors, got NoneType"):
        collate([1, None])
    for samples in ([("a",), None], [{"a": 1}, ("a",)], ["a", 1], [b"a", None]):
        with pytest.raises(ValueError, match="samples of one structure"):
            collate(samples)
    for samples in ([{"a": 1}, {"a": 1, "b": 2}], [{"a": 1, "b": 2}, {"a": 1}]):
        with pytest.raises(ValueError, match="samples with the same keys"):
            collate(samples)


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


class Inner(NamedTuple):
    box: np.ndarray
    label: int


class Outer(NamedTuple):
    image: np.ndarray
    target: Inner


def test_named_tuples_stay_named_at_every_depth():
    batch = collate([Outer(np.ones(2), Inner(np.zeros(4), 1)), Outer(np.ones(2), Inner(np.zeros(4), 2))])
    assert isinstance(batch, Outer) and isinstance(batch.target, Inner)
    assert batch.image.shape == (2, 2) and batch.target.label.tolist() == [1, 2]
    empty = empty_like(batch)
    assert isinstance(empty.target, Inner) and empty.target.box.shape == (0, 4)


class Named(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return Inner(np.full(2, index, np.float32), index)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_hands_out_named_tuples(num_workers):
    batches = list(DataLoader(Named(), 2, num_workers=num_workers))
    assert all(isinstance(batch, Inner) for batch in batches)
    assert [batch.label.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
