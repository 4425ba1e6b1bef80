"""The loader: batches over ranks and epochs, eagerly and with workers."""

from __future__ import annotations

import itertools
from itertools import chain

import numpy as np
import pytest

import dtrain as dt
from dtrain import data
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


def state_after(loader: DataLoader, num_batches: int) -> dict:
    list(itertools.islice(loader, num_batches))
    return loader.state_dict()


@pytest.mark.parametrize("num_done", [0, 1, 3])
def test_a_loader_resumes_in_the_middle_of_an_epoch(num_done):
    dataset = ArrayDataset(np.arange(10))
    whole = values(DataLoader(dataset, 3, shuffle=True))
    state = state_after(DataLoader(dataset, 3, shuffle=True), num_done)
    assert (state["epoch"], state["num_samples"]) == (0, 3 * num_done)
    resumed = DataLoader(dataset, 3, shuffle=True)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert values(resumed) == whole[num_done:]
    assert (resumed.epoch, resumed.state_dict()["num_samples"]) == (1, 0)
    assert values(resumed) == epoch_of(dataset, 1)


def epoch_of(dataset: Dataset, epoch: int) -> list[list[int]]:
    loader = DataLoader(dataset, 3, shuffle=True)
    loader.epoch = epoch
    return values(loader)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("before", "after"), [((1, 3), (2, 3)), ((3, 2), (1, 5)), ((2, 4), (5, 1)), ((4, 2), (3, 2))])
def test_resuming_on_other_ranks_and_batch_sizes_goes_on_at_the_same_sample(before, after, drop_last, num_workers):
    dataset = ArrayDataset(np.arange(41))
    order = values(DataLoader(dataset, 41, shuffle=True, seed=3))[0]

    def loaders(world_size: int, batch_size: int) -> list[DataLoader]:
        options = {"shuffle": True, "seed": 3, "drop_last": drop_last}
        return [DataLoader(dataset, batch_size, shard=(rank, world_size), **options) for rank in range(world_size)]

    (state,) = {tuple(state_after(loader, 2).items()) for loader in loaders(*before)}
    num_done = 2 * before[0] * before[1]
    assert dict(state)["num_samples"] == num_done
    resumed = loaders(*after)
    for loader in resumed:
        loader.num_workers = num_workers
        loader.load_state_dict(dict(state))
    together = after[0] * after[1]
    steps = [sorted(chain(*parts)) for parts in zip(*map(values, resumed))]
    expected = [sorted(order[i : i + together]) for i in range(num_done, 41, together)]
    assert steps == [step for step in expected if len(step) == together or not drop_last]
    assert {loader.epoch for loader in resumed} == {1}


def test_an_interrupted_resumed_epoch_counts_from_its_beginning():
    dataset = ArrayDataset(np.arange(20))
    first = DataLoader(dataset, 2, shuffle=True)
    second = DataLoader(dataset, 3, shuffle=True)
    second.load_state_dict(state_after(first, 3))
    third = DataLoader(dataset, 4, shuffle=True)
    third.load_state_dict(state_after(second, 2))
    rest = values(DataLoader(dataset, 20, shuffle=True))[0][12:]
    assert list(chain(*values(third))) == rest


@pytest.mark.parametrize(
    ("options", "length"), [({"seed": 2}, 20), ({"shuffle": False}, 20), ({}, 21)], ids=["seed", "order", "length"]
)
def test_a_place_in_another_order_is_refused(options, length):
    state = state_after(DataLoader(ArrayDataset(np.arange(20)), 2, shuffle=True, seed=1), 3)
    other = DataLoader(ArrayDataset(np.arange(length)), 2, **{"shuffle": True, "seed": 1, **options})
    with pytest.raises(ValueError, match=r"expected a state of length .*its place in the epoch is none in this loader"):
        other.load_state_dict(state)
    assert other.epoch == 0
    other.load_state_dict({**state, "num_samples": 0, "epoch": 4})  # between epochs there is nothing to repeat
    assert other.epoch == 4


def test_the_usual_epoch_loop_keeps_the_place_of_a_loaded_state():
    dataset = ArrayDataset(np.arange(10))
    loader = DataLoader(dataset, 3, shuffle=True)
    state = state_after(loader, 2)
    resumed = DataLoader(dataset, 3, shuffle=True)
    resumed.load_state_dict(state)
    resumed.set_epoch(0)
    assert values(resumed) == epoch_of(dataset, 0)[2:]
    resumed.set_epoch(1)
    assert values(resumed) == epoch_of(dataset, 1)
    resumed.load_state_dict(state)
    resumed.set_epoch(1)  # somewhere else
    assert values(resumed) == epoch_of(dataset, 1)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_batches", [1, 2])
@pytest.mark.parametrize("batch_size", [3, 7])
def test_a_peek_leaves_the_ranks_together(num_batches, batch_size, num_workers):
    dataset = ArrayDataset(np.arange(28))
    ranks = [DataLoader(dataset, batch_size, shuffle=True, shard=(rank, 2), num_workers=num_workers) for rank in (0, 1)]
    list(itertools.islice(ranks[0], num_batches - 1 if batch_size == 7 else num_batches))
    next(iter(ranks[0]))
    for _ in range(2):
        assert sorted(chain(*chain(*map(values, ranks)))) == list(range(28))


def test_a_peek_at_the_only_batch_leaves_the_ranks_together():
    dataset = ArrayDataset(np.arange(10))
    ranks = [DataLoader(dataset, 5, shuffle=True, shard=(rank, 2)) for rank in (0, 1)]
    next(iter(ranks[0]))
    assert [loader.epoch for loader in ranks] == [0, 0]
    for _ in range(2):
        assert sorted(chain(*chain(*map(values, ranks)))) == list(range(10))
    assert [loader.epoch for loader in ranks] == [2, 2]


def test_a_peek_in_the_middle_of_an_epoch_changes_nothing():
    dataset = ArrayDataset(np.arange(12))
    loader = DataLoader(dataset, 3, shuffle=True)
    seen = []
    for batch in loader:
        seen.append(batch.tolist())
        if len(seen) < 4:
            next(iter(loader))
    assert seen == epoch_of(dataset, 0) and loader.epoch == 1


@pytest.mark.parametrize("walk", [list, lambda loader: [batch for _, batch in zip(range(len(loader)), loader)]])
def test_whoever_counts_the_batches_comes_to_the_next_epoch_too(walk):
    loader = DataLoader(ArrayDataset(np.arange(9)), 3, shuffle=True)
    assert [batch.tolist() for batch in walk(loader)] != [batch.tolist() for batch in walk(loader)]
    assert loader.epoch == 2


@pytest.mark.parametrize("epoch", [-1, 1.5, None, "1", True])
def test_an_epoch_is_a_count(epoch):
    with pytest.raises(ValueError, match="DataLoader: expected epoch of at least 0, got"):
        DataLoader(Squares(3)).set_epoch(epoch)


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
        ({"prefetch": 1.5}, "prefetch of at least 1, got 1.5"),
        ({"batch_size": 2.0}, "batch_size of at least 1, got 2.0"),
        ({"batch_size": True}, "batch_size of at least 1, got True"),
        ({"shard": 1}, r"shard to be True, False or \(rank, world_size\), got 1"),
        ({"shard": None}, r"shard to be True, False or \(rank, world_size\), got None"),
        ({"shard": (0, 1, 2)}, r"shard to be True, False or \(rank, world_size\), got \(0, 1, 2\)"),
        ({"shard": (0, 2.0)}, r"shard to be True, False or \(rank, world_size\), got \(0, 2.0\)"),
        ({"shard": (3, 2)}, "0 <= rank < world_size, got 3 and 2"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Squares(3), **options)


def test_counts_of_numpy_are_counts():
    options = {"num_workers": np.int32(1), "prefetch": np.int64(1), "shard": (np.int64(1), np.int64(2))}
    assert values(DataLoader(ArrayDataset(np.arange(4)), np.int64(2), **options)) == [[1, 3]]
    batches = data.BatchSampler(range(3), np.int64(2), False)
    assert values(DataLoader(ArrayDataset(np.arange(3)), batch_sampler=batches)) == [[0, 1], [2]]


@pytest.mark.parametrize("seed", [1.5, None, "1"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(TypeError, match="seed: expected a whole number"):
        list(DataLoader(ArrayDataset(np.arange(4)), 2, shuffle=True, seed=seed))
