"""`DistributedSampler` and a loader with it: the samples and the order of `shard=`, under PyTorch's words."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import dtrain as dt
from dtrain import data

pytestmark = pytest.mark.filterwarnings("ignore:the last batch of this rank is empty")
DATASET = data.ArrayDataset(np.arange(11))


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_a_loader_gives_what_shard_gives(world: int) -> None:
    seen = []
    for rank in range(world):
        sampler = data.DistributedSampler(DATASET, num_replicas=world, rank=rank, seed=5)
        loader = data.DataLoader(DATASET, 2, sampler=sampler)
        other = data.DataLoader(DATASET, 2, shuffle=True, shard=(rank, world), seed=5)
        assert len(loader) == len(other)
        for epoch in (0, 3, 3, 1):
            sampler.set_epoch(epoch)
            other.epoch = epoch
            batches = [batch.tolist() for batch in loader]
            assert batches == [batch.tolist() for batch in other]
            assert [sample for batch in batches for sample in batch] == list(sampler)
        seen += [sample for batch in batches for sample in batch]
    assert sorted(seen) == list(range(11))


def test_without_set_epoch_epochs_follow_each_other() -> None:
    loader = data.DataLoader(DATASET, 11, sampler=data.DistributedSampler(DATASET, 1, 0))
    orders = [next(iter(batch.tolist() for batch in loader)) for _ in range(2)]
    first, second = ([batch.tolist() for batch in loader] for _ in range(2))
    assert orders[0] == orders[1] == first[0] != second[0]  # an epoch that was left begins again


def test_without_shuffle_and_in_place_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_RANK", "1")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "3")
    assert list(data.DistributedSampler(DATASET, shuffle=False)) == [1, 4, 7, 10]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: data.DataLoader(DATASET, 2, sampler=5), TypeError, "an iterable as sampler"),
        (
            lambda: data.DataLoader(DATASET, 2, sampler=data.DistributedSampler(DATASET, 1, 0), shard=True),
            ValueError,
            "shard left out",
        ),
        (
            lambda: data.DataLoader(DATASET, 2, True, data.DistributedSampler(DATASET, 1, 0)),
            ValueError,
            "shuffle left out beside a sampler",
        ),
        (
            lambda: data.DataLoader(DATASET, sampler=data.DistributedSampler(data.Digits(), 1, 0)),
            ValueError,
            "a sampler of 11",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]


def test_batches_are_tensors() -> None:
    loader = data.DataLoader(DATASET, 4, sampler=data.DistributedSampler(DATASET, 1, 0))
    assert all(isinstance(batch, dt.Tensor) for batch in loader)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_drop_last_leaves_out_what_not_every_rank_would_get(size: int) -> None:
    numbers = [float(i) for i in range(11)]
    samplers = [data.DistributedSampler(numbers, size, rank, shuffle=False, drop_last=True) for rank in range(size)]
    batches = [[batch.tolist() for batch in data.DataLoader(numbers, 2, sampler=one)] for one in samplers]
    assert all(batch for own in batches for batch in own)
    parts = [[x for batch in own for x in batch] for own in batches]
    assert {len(part) for part in parts} == {11 // size} == {len(one) for one in samplers}
    assert sorted(x for part in parts for x in part) == numbers[: 11 // size * size]


@pytest.mark.parametrize("options", [{}, {"drop_last": True}])
@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_rank_without_samples_gets_none(length: int, options: dict[str, bool]) -> None:
    """A sampler without samples is false as a list is; it is still the one that was given."""
    numbers = [float(i) for i in range(length)]
    samplers = [data.DistributedSampler(numbers, 3, rank, shuffle=False, **options) for rank in range(3)]
    loaders = [data.DataLoader(numbers, 1, sampler=one) for one in samplers]
    assert [loader.sampler for loader in loaders] == samplers
    found = [[x for batch in loader for x in batch.tolist()] for loader in loaders]
    assert sorted(x for own in found for x in own) == ([] if options else numbers)
    assert len({len(loader) for loader in loaders}) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_rank_whose_last_batch_is_empty_says_so(workers: int) -> None:
    """A script written for repeated samples takes means over batches; one over none is nan, for all ranks."""
    dataset = data.TensorDataset(dt.arange(10.0))
    for rank, options in ((1, {}), (0, {}), (1, {"drop_last": True})):
        sampler = data.DistributedSampler(dataset, num_replicas=3, rank=rank, **options)
        loader = data.DataLoader(dataset, batch_size=1, sampler=sampler, num_workers=workers)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sizes = [len(x) for (x,) in loader]
        assert sizes == {1: [1, 1, 1, 0], 0: [1, 1, 1, 1]}[rank][: 3 if options else 4]
        told = [str(warning.message) for warning in caught]
        assert len(told) == (0 in sizes) and all("each sample once" in text for text in told)
