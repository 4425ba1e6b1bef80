"""The sharded sampler: no sample lost, none doubled."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from dtrain.data.sampler import RankShardedSampler


def shards(num_samples: int, world_size: int, epoch: int = 0, **options: object) -> list[list[int]]:
    return [
        RankShardedSampler(num_samples, rank=rank, world_size=world_size, **options).indices(epoch).tolist()
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("num_samples", [0, 1, 2, 6, 13, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_sample_goes_to_exactly_one_rank(num_samples, world_size, shuffle):
    parts = shards(num_samples, world_size, epoch=2, shuffle=shuffle)
    assert sorted(chain(*parts)) == list(range(num_samples))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for rank, size in enumerate(sizes):
        assert len(RankShardedSampler(num_samples, rank=rank, world_size=world_size)) == size


def test_ranks_take_turns_in_the_order_of_one_process():
    (whole,) = shards(10, 1, shuffle=True, seed=5)
    assert [list(turn) for turn in zip(*shards(10, 2, shuffle=True, seed=5))] == [
        whole[i : i + 2] for i in (0, 2, 4, 6, 8)
    ]


def test_epochs_and_seeds_differ_but_repeat():
    assert shards(50, 2, epoch=0, shuffle=True) != shards(50, 2, epoch=1, shuffle=True)
    assert shards(50, 2, shuffle=True, seed=0) != shards(50, 2, shuffle=True, seed=1)
    assert shards(50, 2, epoch=3, shuffle=True) == shards(50, 2, epoch=3, shuffle=True)


@pytest.mark.parametrize(("num_samples", "world_size"), [(10, 3), (1, 4), (9, 3)])
def test_pad_repeats_the_first_samples(num_samples, world_size):
    parts = shards(num_samples, world_size, pad=True)
    assert len({len(part) for part in parts}) == 1
    padded = [sample for turn in zip(*parts) for sample in turn]
    assert padded[:num_samples] == list(range(num_samples))
    assert padded[num_samples:] == [i % num_samples for i in range(len(padded) - num_samples)]


def test_drop_last_leaves_out_the_remainder():
    assert shards(10, 3, drop_last=True) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_place_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DTRAIN_RANK", "1")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "2")
    assert RankShardedSampler(5).indices(0).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "0 <= rank < world_size, got 2 and 2"),
        ({"rank": 0}, "rank and world_size together"),
        ({"rank": 0, "world_size": 2, "pad": True, "drop_last": True}, "pad or drop_last, got both"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        RankShardedSampler(4, **options)


def test_indices_are_integers():
    assert RankShardedSampler(3, rank=0, world_size=1).indices(0).dtype == np.int64
