"""Random numbers in worker processes: different everywhere, the same again in every run."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.core import random as streams
from dtrain.data.dataset import Dataset
from dtrain.data.loader import DataLoader
from dtrain.data.random_streams import seed_global_streams

DRAWS = {
    "uniform": lambda: streams.uniform(3).numpy(),
    "normal": lambda: dt.default_generator().normal(3).numpy(),
    "dropout": lambda: F.dropout(dt.tensor(np.ones(64, np.float32)), 0.5).numpy(),
    "numpy": lambda: np.random.rand(3),
    "python": lambda: np.array([random.random() for _ in range(3)]),
}


class Noise(Dataset):
    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return self.draw()


def epoch_of(draw, *, num_workers=2, epoch=0, seed=0, shard=(0, 1), batch_size=2, start=0):
    loader = DataLoader(Noise(draw), batch_size, num_workers=num_workers, seed=seed, shard=shard)
    loader.load_state_dict({**loader.state_dict(), "epoch": epoch, "num_samples": start})
    return [sample.tobytes() for batch in loader for sample in batch.numpy()]


@pytest.mark.parametrize("name", DRAWS)
def test_no_two_samples_share_their_numbers(name):
    draw = DRAWS[name]
    parts = [epoch_of(draw), epoch_of(draw, epoch=1), epoch_of(draw, seed=1), epoch_of(draw, shard=(1, 2))]
    drawn = list(itertools.chain(*parts, [draw().tobytes() for _ in range(4)]))
    assert len(set(drawn)) == len(drawn) == 46


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_repeat_whatever_the_main_process_drew_and_however_many_workers(name):
    draw = DRAWS[name]
    first = epoch_of(draw, epoch=3)
    draw()
    assert epoch_of(draw, epoch=3) == first == epoch_of(draw, epoch=3, num_workers=3)
    assert epoch_of(draw, epoch=3, start=4) == first[4:]


@pytest.mark.parametrize("name", DRAWS)
def test_without_workers_a_dataset_draws_from_the_streams_of_the_process(name):
    draw = DRAWS[name]
    seed_global_streams((5,))
    expected = [draw().tobytes() for _ in range(12)]
    seed_global_streams((5,))
    assert epoch_of(draw, num_workers=0) == expected != epoch_of(draw, num_workers=1)


@pytest.mark.parametrize("name", DRAWS)
def test_the_main_process_keeps_its_streams(name):
    draw = DRAWS[name]
    seed_global_streams((5,))
    expected = [draw().tobytes() for _ in range(2)]
    seed_global_streams((5,))
    assert draw().tobytes() == expected[0]
    epoch_of(draw)
    assert draw().tobytes() == expected[1]


def test_keys_of_any_size_and_sign():
    before = dt.default_generator().state_dict()
    try:
        drawn = set()
        for key in ((0, 0), (0, 1), (1, 0), (-1, 0), (2**63, 0), (2**32, 0)):
            seed_global_streams(key)
            drawn.add((random.random(), np.random.rand(), streams.uniform(()).item()))
        assert len(drawn) == 6 and all(len(set(column)) == 6 for column in zip(*drawn))
    finally:
        dt.default_generator().load_state_dict(before)
