"""States of loaders: what is refused, and what the first version wrote."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from dtrain.data.dataset import ArrayDataset
from dtrain.data.loader import DataLoader


def loader(batch_size: int = 4) -> DataLoader:
    return DataLoader(ArrayDataset(np.arange(20)), batch_size, shard=(1, 2))


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 1},
        {"epoch": 1, "num_samples": -1},
        {"epoch": -1, "num_samples": 0},
        {"epoch": "1", "num_samples": 0},
        {"epoch": 1, "num_samples": 1.5},
        {"epoch": 1, "num_batches": None},
        {"epoch": 0, "num_samples": 21, "length": 20, "shuffle": False, "seed": 0},
        {"epoch": 0, "num_samples": 2},
        [1, 2],
        None,
    ],
    ids=str,
)
def test_what_is_no_state_is_refused_and_changes_nothing(state):
    mine = loader()
    mine.epoch = 3
    with pytest.raises(ValueError, match="DataLoader"):
        mine.load_state_dict(state)
    assert mine.state_dict()["epoch"] == 3 and mine.state_dict()["num_samples"] == 0


def test_a_state_that_counts_batches_is_taken_with_a_warning():
    mine = loader()
    with pytest.warns(UserWarning, match=r"counts batches \(1\).*8 samples over all ranks"):
        mine.load_state_dict({"epoch": 2, "num_batches": 1})
    assert (mine.state_dict()["epoch"], mine.state_dict()["num_samples"]) == (2, 8)


def test_between_epochs_a_state_that_counts_batches_says_all():
    mine = loader()
    mine.load_state_dict({"epoch": 2, "num_batches": 0})
    assert mine.epoch == 2


def test_without_shuffling_the_seed_decides_nothing():
    mine = loader()
    mine.load_state_dict({"epoch": 0, "num_samples": 8, "length": 20, "shuffle": False, "seed": 7})
    assert [batch.tolist() for batch in mine] == [[9, 11, 13, 15], [17, 19]]


def test_chains_of_resumes_on_random_worlds_see_every_sample_once_an_epoch():
    random = np.random.default_rng(5)
    for _ in range(40):
        length, seed = int(random.integers(0, 60)), int(random.integers(5))
        state, seen, epoch = None, [], 0
        for _ in range(6):
            size, batch_size = int(random.integers(1, 6)), int(random.integers(1, 8))
            ranks = [
                DataLoader(ArrayDataset(np.arange(length)), batch_size, shuffle=True, seed=seed, shard=(rank, size))
                for rank in range(size)
            ]
            for mine in ranks if state is not None else ():
                mine.load_state_dict(state)
            steps = zip(*map(iter, ranks))
            seen += [i for batches in islice(steps, int(random.integers(0, 4))) for b in batches for i in b.tolist()]
            (state,) = {tuple(mine.state_dict().items()) for mine in ranks}
            state = dict(state)
            if state["epoch"] > epoch:
                assert sorted(seen) == list(range(length))
                seen, epoch = [], state["epoch"]
            assert len(seen) == len(set(seen)) == state["num_samples"]
