"""Optimizers and schedules go through pickle and deepcopy, and train on as the original does."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn, optim
from dtrain.optim.lr_scheduler import LRScheduler
from dtrain.optim.optimizer import Optimizer

OPTIMIZERS = {
    "SGD": lambda parameters: optim.SGD(parameters, 0.1),
    "SGD with momentum": lambda parameters: optim.SGD(parameters, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda parameters: optim.Adam(parameters, 0.1),
    "AdamW": lambda parameters: optim.AdamW(parameters, 0.1, betas=(0.5, 0.9)),
}


def half(step: int) -> float:
    return 0.5**step


SCHEDULES = {
    "StepLR": lambda optimizer: optim.StepLR(optimizer, 2),
    "MultiStepLR": lambda optimizer: optim.MultiStepLR(optimizer, [1, 3]),
    "ExponentialLR": lambda optimizer: optim.ExponentialLR(optimizer, 0.5),
    "CosineAnnealingLR": lambda optimizer: optim.CosineAnnealingLR(optimizer, 10),
    "LinearWarmup": lambda optimizer: optim.LinearWarmup(optimizer, 2, after=optim.StepLR(optimizer, 2)),
    "OneCycleLR": lambda optimizer: optim.OneCycleLR(optimizer, 0.3, 20, cycle_momentum=False),
    "LambdaLR": lambda optimizer: optim.LambdaLR(optimizer, half),
    "LinearLR": lambda optimizer: optim.LinearLR(optimizer),
    "ConstantLR": lambda optimizer: optim.ConstantLR(optimizer),
    "PolynomialLR": lambda optimizer: optim.PolynomialLR(optimizer, 20),
    "CosineAnnealingWarmRestarts": lambda optimizer: optim.CosineAnnealingWarmRestarts(optimizer, 2),
    "SequentialLR": lambda optimizer: optim.SequentialLR(
        optimizer, [optim.LinearLR(optimizer), optim.StepLR(optimizer, 2)], [4]
    ),
    "ChainedScheduler": lambda optimizer: optim.ChainedScheduler(
        [optim.ConstantLR(optimizer), optim.ExponentialLR(optimizer, 0.5)]
    ),
    "ReduceLROnPlateau": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=1),
}
ROUND_TRIPS = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}


def subclasses(kind: type) -> set[str]:
    return {name for name, value in vars(optim).items() if isinstance(value, type) and issubclass(value, kind)}


def test_every_optimizer_and_schedule_is_here():
    assert {name.split()[0] for name in OPTIMIZERS} == subclasses(Optimizer) - {"Optimizer"}
    assert set(SCHEDULES) == subclasses(LRScheduler) - {"LRScheduler"}


def train(model, optimizer, schedule, num_steps: int, *, traced: bool = False) -> list[list[float]]:
    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    run = dt.trace(step) if traced else step
    seen = []
    for number in range(num_steps):
        run(dt.tensor(np.full((1, 2), 1 + number, np.float32)))
        schedule.step(*[1.0] * isinstance(schedule, optim.ReduceLROnPlateau))
        seen.append([*model.weight.numpy().ravel().tolist(), *schedule.get_last_lr()])
    return seen


@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
@pytest.mark.parametrize("schedule_name", SCHEDULES)
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
def test_a_copy_trains_on_as_the_original(optimizer_name, schedule_name, round_trip):
    model = nn.Linear(2, 1)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.01}]
    optimizer = OPTIMIZERS[optimizer_name](groups)
    schedule = SCHEDULES[schedule_name](optimizer)
    train(model, optimizer, schedule, 3)
    copied = ROUND_TRIPS[round_trip]((model, optimizer, schedule))
    assert copied[1] is copied[2].optimizer and copied[1].param_groups[0]["params"][0] is copied[0].weight
    expected = train(model, optimizer, schedule, 3)
    assert train(*copied, 3, traced=True) == expected


@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
def test_settings_of_a_copy_take_effect(round_trip):
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    other_model, other = ROUND_TRIPS[round_trip]((model, optimizer))
    other.param_groups[0]["lr"] = 0.0
    other.param_groups[0]["momentum"] = 0.0
    before = other_model.weight.tolist()
    (other_model(dt.tensor([[1.0, 2.0]])).sum()).backward()
    other.step()
    assert other_model.weight.tolist() == before
    assert optimizer.param_groups[0]["lr"] == 0.1 and optimizer.param_groups[0]["momentum"] == 0.9
