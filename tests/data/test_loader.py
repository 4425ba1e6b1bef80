"""The loader: batches over ranks and epochs, eagerly and with workers."""

from __future__ import annotations

import itertools
from itertools import chain

import numpy as np
import pytest

import dtrain as dt
from dtrain.data.dataset import ArrayDataset, Dataset
from dtrain.data.loader import DataLoader


class Squares(Dataset):
    """Has no `take`, so it is collated."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        return {"x": np.full((2,), index, np.float32), "y": index * index}


def values(loader: DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_tensors_in_order(num_workers):
    batches = list(DataLoader(Squares(5), 2, num_workers=num_workers))
    assert [batch["y"].tolist() for batch in batches] == [[0, 1], [4, 9], [16]]
    assert isinstance(batches[0]["x"], dt.Tensor) and batches[0]["x"].dtype is dt.float32
    assert batches[2]["x"].shape == (1, 2)


@pytest.mark.parametrize("num_workers", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("dataset", [Squares(9), Squares(0)], ids=["9", "0"])
def test_ranks_have_as_many_batches_and_every_sample_once(dataset, world_size, batch_size, num_workers):
    loaders = [
        DataLoader(dataset, batch_size, shard=(rank, world_size), num_workers=num_workers) for rank in range(world_size)
    ]
    parts = [[batch["y"].tolist() for batch in loader] for loader in loaders]
    assert {len(part) for part in parts} == {len(loaders[0])}
    assert sorted(chain(*chain(*parts))) == [i * i for i in range(len(dataset))]


def test_an_empty_batch_has_the_shape_of_the_others():
    (batch,) = DataLoader(Squares(1), 4, shard=(1, 2))
    assert batch["x"].shape == (0, 2) and batch["y"].shape == (0,)
    ((images, labels),) = DataLoader(ArrayDataset(np.zeros((1, 3)), np.zeros(1)), 4, shard=(1, 2))
    assert images.shape == (0, 3) and labels.shape == (0,)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_empty_batch_survives_the_way_from_a_worker(num_workers):
    batches = list(DataLoader(Squares(5), 2, shard=(1, 2), num_workers=num_workers))
    assert [batch["y"].tolist() for batch in batches] == [[1, 9], []]
    assert batches[1]["x"].shape == (0, 2)


def test_batches_of_all_ranks_are_the_batch_of_one_process():
    dataset = ArrayDataset(np.arange(23))
    whole = values(DataLoader(dataset, 6, shuffle=True, seed=1))
    ranks = [values(DataLoader(dataset, 2, shuffle=True, seed=1, shard=(rank, 3))) for rank in range(3)]
    assert len(whole) == 4
    for step, batch in enumerate(whole):
        assert sorted(batch) == sorted(chain(*(rank[step] for rank in ranks)))


def test_each_epoch_has_its_own_order_and_repeats():
    dataset = ArrayDataset(np.arange(20))
    loader = DataLoader(dataset, 20, shuffle=True)
    first, second = values(loader), values(loader)
    assert first != second and loader.epoch == 2
    loader.epoch = 0
    assert values(loader) == first
    assert values(DataLoader(dataset, 20, shuffle=True, num_workers=2)) == first


def test_drop_last_leaves_out_batches_that_are_not_full_on_every_rank():
    dataset = ArrayDataset(np.arange(11))
    parts = [values(DataLoader(dataset, 2, shard=(rank, 2), drop_last=True)) for rank in range(2)]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 2], [2, 2]]


def test_collate_may_be_given():
    assert list(DataLoader(Squares(3), 3, collate=lambda samples: len(samples))) == [3]


@pytest.mark.parametrize("num_done", [0, 1, 3])
def test_a_loader_resumes_in_the_middle_of_an_epoch(num_done):
    dataset = ArrayDataset(np.arange(10))
    loader = DataLoader(dataset, 3, shuffle=True)
    list(loader)
    whole = values(DataLoader(dataset, 3, shuffle=True))
    loader.epoch = 0
    iterator = iter(loader)
    for _ in range(num_done):
        next(iterator)
    state = loader.state_dict()
    assert state == {"epoch": 0, "num_batches": num_done}
    resumed = DataLoader(dataset, 3, shuffle=True)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert values(resumed) == whole[num_done:]
    assert resumed.state_dict() == {"epoch": 1, "num_batches": 0}


def test_leaving_an_epoch_early_ends_the_workers():
    loader = DataLoader(Squares(100), 1, num_workers=2)
    assert [batch["y"].item() for batch in itertools.islice(loader, 2)] == [0, 1]
    assert next(iter(loader))["y"].item() == 0


def test_shard_true_asks_the_environment(monkeypatch):
    monkeypatch.setenv("DTRAIN_RANK", "1")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "2")
    assert values(DataLoader(ArrayDataset(np.arange(4)), 2, shard=True)) == [[1, 3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size of at least 1, got 0"),
        ({"num_workers": -1}, "num_workers of at least 0, got -1"),
        ({"prefetch": 0}, "prefetch of at least 1, got 0"),
        ({"shard": (3, 2)}, "0 <= rank < world_size, got 3 and 2"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Squares(3), **options)
