"""Groups that an optimizer gets, and rates that it is given, after its schedule was made."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from dtrain import nn, optim


def optimizer_with(lr: float = 0.4) -> optim.SGD:
    return optim.SGD([nn.Parameter(np.ones(1))], lr=lr)


def rates(optimizer: optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


FACTORS = {
    "step": (lambda o: optim.StepLR(o, 2, gamma=0.5), lambda k: 0.5 ** (k // 2)),
    "multi-step": (lambda o: optim.MultiStepLR(o, [1, 3], gamma=0.5), lambda k: 0.5 ** ((k >= 1) + (k >= 3))),
    "exponential": (lambda o: optim.ExponentialLR(o, 0.5), lambda k: 0.5**k),
    "linear": (lambda o: optim.LinearLR(o, 0.2, 1.0, 4), lambda k: 0.2 + 0.2 * min(k, 4)),
    "polynomial": (lambda o: optim.PolynomialLR(o, 8), lambda k: 1 - min(k, 8) / 8),
    "cosine": (lambda o: optim.CosineAnnealingLR(o, 8), lambda k: (1 + np.cos(np.pi * k / 8)) / 2),
    "sequence": (
        lambda o: optim.SequentialLR(o, [optim.ConstantLR(o, 0.5, 9), optim.ExponentialLR(o, 0.5)], [2]),
        lambda k: 0.5 if k < 2 else 0.5 ** (k - 2),
    ),
    "chain": (
        lambda o: optim.ChainedScheduler([optim.ExponentialLR(o, 0.5), optim.LinearLR(o, 0.2, 1.0, 4)]),
        lambda k: 0.5**k * (0.2 + 0.2 * min(k, 4)),
    ),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_group_that_comes_later_goes_on_from_its_own_rate(name, start) -> None:
    make, factor = FACTORS[name]
    optimizer = optimizer_with()
    schedule = make(optimizer)
    for _ in range(start):
        schedule.step()
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 0.1})
    for step in range(start + 1, 7):
        schedule.step()
        assert rates(optimizer) == pytest.approx([0.4 * factor(step), 0.1 * factor(step) / factor(start)], rel=1e-12)
        assert schedule.get_last_lr() == rates(optimizer)
    resumed = optimizer_with()
    other = make(resumed)
    resumed.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 0.1})
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.load_state_dict(schedule.state_dict())
    schedule.step()
    other.step()
    assert rates(resumed) == pytest.approx(rates(optimizer), rel=1e-12)


@pytest.mark.parametrize("name", FACTORS)
def test_a_group_that_was_made_with_0_is_scheduled_from_the_rate_that_it_is_given(name) -> None:
    """A frozen layer's rate is raised when it is to learn."""
    make, factor = FACTORS[name]
    optimizer = optimizer_with(0.0)
    schedule = make(optimizer)
    schedule.step()
    assert rates(optimizer) == [0.0]
    optimizer.param_groups[0]["lr"] = 0.1
    for step in range(2, 6):
        schedule.step()
        assert rates(optimizer) == pytest.approx([0.1 * factor(step) / factor(1)], rel=1e-12)


@pytest.mark.parametrize("name", FACTORS)
def test_a_rate_that_was_0_for_a_while_goes_on_from_the_one_that_follows(name) -> None:
    make, factor = FACTORS[name]
    optimizer = optimizer_with()
    schedule = make(optimizer)
    optimizer.param_groups[0]["lr"] = 0.0
    for _ in range(2):
        schedule.step()
        assert rates(optimizer) == [0.0]
    optimizer.param_groups[0]["lr"] = 0.1
    for step in range(3, 6):
        schedule.step()
        assert rates(optimizer) == pytest.approx([0.1 * factor(step) / factor(2)], rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: optim.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: optim.CosineAnnealingWarmRestarts(o, 3),
        lambda o: optim.OneCycleLR(o, 0.5, 10, cycle_momentum=False),
    ],
)
def test_schedules_that_say_rates_of_their_own_leave_later_groups_alone(make) -> None:
    optimizer = optimizer_with()
    schedule = make(optimizer)
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 0.1})
    before = rates(optimizer)
    schedule.step()
    assert rates(optimizer)[0] != before[0] and rates(optimizer)[1] == 0.1


def test_in_a_sequence_they_say_that_they_do_not_know_the_group() -> None:
    optimizer = optimizer_with()
    schedule = optim.SequentialLR(optimizer, [optim.LambdaLR(optimizer, lambda step: 1.0)], [])
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))]})
    with pytest.raises(ValueError, match="LambdaLR: expected a function for every group"):
        schedule.step()


def test_a_plateau_reduces_later_groups_too() -> None:
    optimizer = optimizer_with()
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=0.03)
    schedule.step(1.0)
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 0.1})
    schedule.step(1.0)
    assert rates(optimizer) == [0.2, 0.05]
    schedule.step(1.0)
    assert rates(optimizer) == [0.1, 0.03]
    schedule.load_state_dict(schedule.state_dict())
    assert rates(optimizer) == [0.1, 0.03]
    optimizer = optimizer_with()
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 0.1})
    schedule = optim.ReduceLROnPlateau(optimizer, min_lr=[0.1, 0.2])
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 0.1})
    with pytest.raises(ValueError, match="a min_lr for each of 3 groups"):
        schedule.step(1.0)
