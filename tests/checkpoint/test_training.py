"""Whole runs saved and resumed."""

from __future__ import annotations

import os

import numpy as np
import pytest

import dtrain as dt
from dtrain import data, nn, optim
from dtrain.base.errors import CheckpointError
from dtrain.checkpoint.file import load, save
from dtrain.checkpoint.training import latest, load_checkpoint, save_checkpoint
from dtrain.core import random


class Scale(nn.Module):
    def __init__(self):
        self.weight = dt.Parameter(np.ones((4,), np.float32))

    def forward(self, x):
        return x * self.weight


def make_run(optimizer_class):
    model = Scale()
    optimizer = optimizer_class(model.parameters(), 0.1)
    scheduler = optim.ExponentialLR(optimizer, 0.9)
    loader = data.DataLoader(data.ArrayDataset(np.arange(24, dtype=np.float32).reshape(6, 4)), 2, shuffle=True)
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}


def train(run, num_steps):
    """Two steps are less than an epoch; noise shows whether random numbers go on."""
    losses = []
    while len(losses) < num_steps:
        for batch in run["loader"]:
            noise = random.normal((4,))
            run["optimizer"].zero_grad()
            loss = (run["model"](batch) * noise).sum()
            loss.backward()
            run["optimizer"].step()
            run["scheduler"].step()
            losses.append(loss.item())
            if len(losses) == num_steps:
                break
    return losses


@pytest.mark.parametrize("optimizer_class", [optim.SGD, optim.Adam])
@pytest.mark.parametrize("num_before", [1, 3, 4])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(tmp_path, optimizer_class, num_before):
    random.seed(3)
    whole = train(make_run(optimizer_class), num_before + 4)
    random.seed(3)
    run = make_run(optimizer_class)
    before = train(run, num_before)
    assert save_checkpoint(tmp_path / "run", **run, epoch=1, step=num_before, extra={"best": 0.5})
    random.seed(99)
    resumed = make_run(optimizer_class)
    assert load_checkpoint(tmp_path / "run", **resumed) == {"epoch": 1, "step": num_before, "extra": {"best": 0.5}}
    assert before + train(resumed, 4) == whole


def test_only_rank_zero_writes(tmp_path):
    assert not save_checkpoint(tmp_path / "new" / "run", model=Scale(), rank=1)
    assert not list(tmp_path.iterdir())
    assert save_checkpoint(tmp_path / "new" / "run", model=Scale(), rank=0)


def test_every_rank_goes_on_with_its_own_random_numbers(tmp_path):
    def draw(rank):
        random.seed(5, rank=rank)
        random.normal((7,))
        return [random.normal((3,)).tolist() for _ in range(2)]

    expected = [draw(rank) for rank in range(3)]
    random.seed(5, rank=0)
    random.normal((7,))
    save_checkpoint(tmp_path / "run", model=Scale(), rank=0)
    for rank in range(3):
        random.seed(1)
        load_checkpoint(tmp_path / "run", model=Scale(), rank=rank)
        assert [random.normal((3,)).tolist() for _ in range(2)] == expected[rank]


def test_a_missing_part_is_named(tmp_path):
    save_checkpoint(tmp_path / "run", model=Scale())
    run = make_run(optim.SGD)
    with pytest.raises(CheckpointError, match="a state of optimizer, loader, got model; leave it out"):
        load_checkpoint(tmp_path / "run", model=run["model"], optimizer=run["optimizer"], loader=run["loader"])


def test_another_value_is_no_run(tmp_path):
    save(tmp_path / "x", {"weight": np.zeros(2)})
    with pytest.raises(CheckpointError, match="written by save_checkpoint"):
        load_checkpoint(tmp_path / "x", model=Scale())


def test_latest_takes_the_largest_number_that_is_whole(tmp_path):
    assert latest(tmp_path) is None
    for step in (9, 10, 100):
        save_checkpoint(tmp_path / f"resnet18-step-{step}.safetensors", model=Scale())
    (tmp_path / "resnet18-step-100.safetensors").write_bytes(b"cut short")
    (tmp_path / ".resnet18-step-200.safetensors.1.tmp").write_bytes(b"")
    assert latest(tmp_path).name == "resnet18-step-10.safetensors"


def test_latest_falls_back_to_the_time_of_writing(tmp_path):
    for name, time in (("new", 2000), ("old", 1000)):
        save_checkpoint(tmp_path / f"{name}.safetensors", model=Scale())
        os.utime(tmp_path / f"{name}.safetensors", (time, time))
    assert latest(tmp_path).name == "new.safetensors"


def snapshot(run):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(child) for key, child in value.items()}
        if isinstance(value, list | tuple):
            return [plain(child) for child in value]
        return value.tolist() if isinstance(value, dt.Tensor) else value

    return {name: plain(part.state_dict()) for name, part in run.items()}


@pytest.mark.parametrize("optimizer_class", [optim.SGD, optim.Adam])
@pytest.mark.parametrize("failing", ["model", "optimizer", "scheduler", "loader"])
def test_a_file_that_does_not_fit_leaves_everything_as_it_was(tmp_path, failing, optimizer_class):
    random.seed(3)
    saved = make_run(optimizer_class)
    train(saved, 4)
    save_checkpoint(tmp_path / "run", **saved)
    content = load(tmp_path / "run")
    wrong = {
        "model": {"other": dt.tensor([1.0])},
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {"num_steps": -1, "base_lrs": [0.1]},
        "loader": {**content["loader"], "seed": 9, "num_samples": 2},
    }
    save(tmp_path / "wrong", {**content, failing: wrong[failing]})
    run = make_run(optimizer_class)
    train(run, 2)
    before, stream = snapshot(run), dt.default_generator().state_dict()
    with pytest.raises(CheckpointError, match=f"a state that this {failing} can load"):
        load_checkpoint(tmp_path / "wrong", **run)
    assert snapshot(run) == before and dt.default_generator().state_dict() == stream
    load_checkpoint(tmp_path / "run", **run)
    assert snapshot(run) == snapshot(saved)


def test_a_part_of_the_users_that_fails_in_its_own_words_leaves_the_others_as_they_were(tmp_path):
    class Loader:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            raise RuntimeError("no such shard")

    save_checkpoint(tmp_path / "run", model=Scale(), loader=Loader())
    model = Scale()
    model.weight.numpy()[...] = 7
    with pytest.raises(RuntimeError, match="no such shard"):
        load_checkpoint(tmp_path / "run", model=model, loader=Loader())
    assert model.weight.tolist() == [7] * 4
