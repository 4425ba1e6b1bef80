"""What print shows of the parts of a training script: what they are set to, and where they are."""

from __future__ import annotations

from typing import Any

import pytest

import dtrain as dt
from dtrain import data, nn, optim


def optimizer() -> optim.SGD:
    return optim.SGD(nn.Linear(2, 3).parameters(), lr=0.25, momentum=0.9)


def groups() -> optim.Adam:
    return optim.Adam([{"params": [nn.Parameter(dt.zeros(2))], "lr": 0.5}, {"params": [nn.Parameter(dt.zeros(3))]}])


def stepped() -> optim.LRScheduler:
    scheduler = optim.StepLR(optimizer(), step_size=1)
    scheduler.step()
    return scheduler


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (optimizer(), ["SGD(", "2 parameters", "lr=0.25", "momentum=0.9", "nesterov=False"]),
        (groups(), ["Adam(\n", "1 parameter, lr=0.5", "lr=0.001"]),
        (groups().param_groups, ["1 parameter, lr=0.5"]),
        (stepped(), ["StepLR(", "step_size=1", "gamma=0.1", "at step 1", "lr 0.025"]),
        (optim.LambdaLR(optimizer(), lambda step: 1.0), ["LambdaLR(functions=[<lambda>]", "lr 0.25"]),
        (
            optim.LinearWarmup(optimizer(), 5, after=optim.CosineAnnealingLR(optimizer(), 7)),
            ["LinearWarmup(warmup=5", "after=CosineAnnealingLR(period=7"],
        ),
        (data.Digits(), ["Digits(1437 samples of float32[1, 8, 8], int64[])"]),
        (data.Subset(data.Digits(), [1, 2]), ["Subset(2 of Digits("]),
        (
            data.DataLoader(data.Digits(), 32, shuffle=True, shard=(1, 2), drop_last=True, num_workers=3),
            ["DataLoader(Digits(", "batch_size=32", "22 batches", "rank 1 of 2", "shuffle", "drop_last", "workers=3"],
        ),
        (
            data.RankShardedSampler(7, rank=1, world_size=2, pad=True),
            ["(7 samples, rank 1 of 2, pad"],
        ),
        (dt.trace(optimizer), ["traced function optimizer, 0 graphs"]),
        (dt.Generator(3), ["Generator(key=3, offset=0)"]),
        (dt.zeros(2).size, ["2"]),
    ],
)
def test_what_print_shows(value: Any, parts: list[str]) -> None:
    text = repr(value)
    assert [part for part in parts if part not in text] == [] and "object at 0x" not in text


def test_a_dataset_of_ones_own_says_how_long_it_is() -> None:
    class Squares(data.Dataset[int]):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> int:
            return index * index

    assert repr(Squares()) == "Squares(5 samples)"
