"""Datasets, their parts and splits."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import data
from dtrain.data.dataset import ArrayDataset, Subset, permutation, random_split

PERMUTATION = [0, 2, 1, 5, 4, 3, 6, 7]


def test_array_dataset_gives_tuples():
    dataset = ArrayDataset(np.arange(6).reshape(3, 2), dt.tensor([1.0, 2.0, 3.0]))
    assert len(dataset) == 3
    image, label = dataset[1]
    assert image.tolist() == [2, 3] and label == 2.0
    images, labels = dataset.take(np.array([2, 0]))
    assert images.tolist() == [[4, 5], [0, 1]] and labels.tolist() == [3.0, 1.0]


def test_one_array_gives_bare_samples():
    assert ArrayDataset(np.arange(3))[2] == 2


@pytest.mark.parametrize("wrap", [lambda dataset: dataset, lambda dataset: Subset(dataset, [0, 1, 2])])
@pytest.mark.parametrize("workers", [0, 1])
def test_tensor_datasets_give_tuples_also_of_one_tensor(wrap, workers):
    """`for (x,) in loader` is how samples without labels are read; with batches of one, a bare x would lose an axis."""
    dataset = data.TensorDataset(dt.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    (sample,) = dataset[-1]
    assert isinstance(sample, dt.Tensor) and sample.tolist() == [5.0, 6.0]
    assert [x.shape for (x,) in data.DataLoader(wrap(dataset), batch_size=1, num_workers=workers)] == [(1, 2)] * 3
    assert [x.shape for (x,) in data.DataLoader(wrap(dataset), batch_size=2, num_workers=workers)] == [(2, 2), (1, 2)]


def test_tensor_datasets_of_several_tensors():
    images, labels = dt.tensor([[1.0, 2.0], [3.0, 4.0]]), dt.tensor([7, 8])
    dataset = data.TensorDataset(images, labels)
    image, label = dataset[1]
    assert image.unsqueeze(0).shape == (1, 2) and label.item() == 8 and dataset.tensors[1].tolist() == [7, 8]
    with pytest.raises(ValueError, match="TensorDataset: expected arrays of one length"):
        data.TensorDataset(images, dt.zeros(3))


@pytest.mark.parametrize("arrays", [(np.zeros(3), np.zeros(4)), (np.zeros(()),)])
def test_arrays_must_have_one_length(arrays):
    with pytest.raises(ValueError, match="arrays of one length along axis 0"):
        ArrayDataset(*arrays)


def test_subset_maps_indices():
    subset = Subset(ArrayDataset(np.arange(10) * 10), [7, 3])
    assert len(subset) == 2 and subset[0] == 70
    assert subset.take(np.array([1, 0])).tolist() == [30, 70]


def test_subset_refuses_indices_outside():
    with pytest.raises(IndexError, match=r"indices in \[0, 4\), got 4"):
        Subset(ArrayDataset(np.arange(4)), [0, 4])


@pytest.mark.parametrize("sizes", [[7, 3], [0.7, 0.3]])
def test_random_split_is_a_partition_and_repeats(sizes):
    dataset = ArrayDataset(np.arange(10))
    first, second = random_split(dataset, sizes, seed=3)
    assert (len(first), len(second)) == (7, 3)
    assert sorted([*first.indices, *second.indices]) == list(range(10))
    assert random_split(dataset, sizes, seed=3)[0].indices.tolist() == first.indices.tolist()
    assert random_split(dataset, sizes, seed=4)[0].indices.tolist() != first.indices.tolist()


def test_fractions_hand_out_what_rounding_leaves():
    assert [len(part) for part in random_split(ArrayDataset(np.arange(10)), [1 / 3, 1 / 3, 1 / 3])] == [4, 3, 3]


@pytest.mark.parametrize("sizes", [[5, 4], [11, -1], [0.5, 0.4], []])
def test_random_split_checks_sizes(sizes):
    with pytest.raises(ValueError, match="counts that add up to 10"):
        random_split(ArrayDataset(np.arange(10)), sizes)


def test_permutation_is_fixed_for_ever():
    # Written down once: another NumPy or machine must give the same order, or ranks would disagree.
    assert permutation(8, 0, 0).tolist() == PERMUTATION
    assert permutation(0, 0, 0).tolist() == [] and permutation(1, 5, 2).tolist() == [0]


def test_permutation_depends_on_seed_and_epoch():
    orders = {tuple(permutation(20, seed, epoch)) for seed in (0, 1, -1) for epoch in (0, 1)}
    assert len(orders) == 6
    assert all(sorted(order) == list(range(20)) for order in orders)


def test_lists_become_what_they_are_as_tensors():
    assert [array.dtype for array in ArrayDataset([1.0, 2.5], [1, 2], [True, False], [1, 2.5]).arrays] == [
        np.float32,
        np.int64,
        np.bool_,
        np.float32,
    ]
    with pytest.raises(ValueError, match="integers that s64 holds"):
        ArrayDataset([2**63, 1])


def test_datasets_one_after_another():
    parts = [ArrayDataset(np.arange(3)), ArrayDataset(np.arange(10, 10)), ArrayDataset(np.arange(10, 12))]
    joined = data.ConcatDataset(parts)
    assert [int(joined[i]) for i in range(len(joined))] == [0, 1, 2, 10, 11]
    assert int(joined[-1]) == 11 and "5 samples" in repr(joined)
    assert [batch.tolist() for batch in data.DataLoader(joined, 2)] == [[0, 1], [2, 10], [11]]
    for index in (5, -6):
        with pytest.raises(IndexError):
            joined[index]
    with pytest.raises(ValueError, match="at least one dataset"):
        data.ConcatDataset([])
