"""Learning-rate schedules, step by step."""

from __future__ import annotations

import math

import pytest

import dtrain as dt
from dtrain import optim


def rates(schedule, count):
    found = []
    for _ in range(count):
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return found


@pytest.fixture
def optimizer():
    return optim.SGD([dt.Parameter([1.0])], 1.0)


SCHEDULES = {
    "step": (lambda o: optim.StepLR(o, 2, 0.5), [1, 1, 0.5, 0.5, 0.25]),
    "multi": (lambda o: optim.MultiStepLR(o, [3, 1], 0.1), [1, 0.1, 0.1, 0.01, 0.01]),
    "exponential": (lambda o: optim.ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
    "cosine": (lambda o: optim.CosineAnnealingLR(o, 4, 0.2), [1, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 0.6,
                                                             0.2 + 0.4 * (1 - math.sqrt(0.5)), 0.2]),
    "warmup": (lambda o: optim.LinearWarmup(o, 4, start_factor=0), [0, 0.25, 0.5, 0.75, 1, 1]),
    "warmup from a third": (lambda o: optim.LinearWarmup(o, 4), [1 / 3, 1 / 2, 2 / 3, 5 / 6, 1, 1]),
    "warmup then": (lambda o: optim.LinearWarmup(o, 2, start_factor=0.5, after=optim.ExponentialLR(o, 0.5)),
                    [0.5, 0.75, 1, 0.5, 0.25]),
    "lambda": (lambda o: optim.LambdaLR(o, lambda step: step + 1), [1, 2, 3]),
    "one cycle": (lambda o: optim.OneCycleLR(o, 10, 6, pct_start=0.5, anneal="linear", div_factor=10,
                                             final_div_factor=10, cycle_momentum=False),
                  [1, 5.5, 10, 10 - 9.9 / 3, 10 - 9.9 * 2 / 3, 0.1]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates(optimizer, name):
    make, wanted = SCHEDULES[name]
    schedule = make(optimizer)
    found = [schedule.get_last_lr()[0]]
    for _ in wanted[1:]:
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_resumes(optimizer, name):
    make, wanted = SCHEDULES[name]
    schedule = make(optimizer)
    schedule.step()
    state, settings = schedule.state_dict(), optimizer.state_dict()
    other = optim.SGD([dt.Parameter([1.0])], 1.0)
    other.load_state_dict(settings)
    resumed = make(other)
    resumed.load_state_dict(state)
    assert resumed.get_last_lr() == pytest.approx([wanted[1]])
    resumed.step()
    assert resumed.get_last_lr() == pytest.approx([wanted[2]])


def test_the_optimizer_uses_the_rate(optimizer):
    (weight,) = optimizer.param_groups[0]["params"]
    schedule = optim.ExponentialLR(optimizer, 0.25)
    schedule.step()
    weight.grad = dt.tensor([1.0])
    optimizer.step()
    assert weight.item() == 0.75


def test_groups_keep_their_ratio():
    groups = [{"params": [dt.Parameter([1.0])], "lr": 0.1}, {"params": [dt.Parameter([1.0])]}]
    schedule = optim.StepLR(optim.SGD(groups, 1.0), 1, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.05, 0.5])


def test_one_function_for_each_group():
    groups = [{"params": [dt.Parameter([1.0])]} for _ in range(2)]
    optimizer = optim.SGD(groups, 1.0)
    assert optim.LambdaLR(optimizer, [lambda _: 2.0, lambda _: 3.0]).get_last_lr() == [2, 3]
    with pytest.raises(ValueError, match="2 functions, one a group, got 1"):
        optim.LambdaLR(optimizer, [lambda _: 1.0])


def test_who_expects_momentum_to_cycle_is_told(optimizer):
    with pytest.warns(UserWarning, match="momentum stays as it is, while PyTorch's goes down"):
        optim.OneCycleLR(optimizer, 1.0, 3)
    with pytest.raises(ValueError, match="expected cycle_momentum=False, got True"):
        optim.OneCycleLR(optimizer, 1.0, 3, cycle_momentum=True)


def test_errors(optimizer):
    with pytest.raises(ValueError, match="step_size of at least 1, got 0"):
        optim.StepLR(optimizer, 0)
    with pytest.raises(ValueError, match="anneal cos or linear, got 'up'"):
        optim.OneCycleLR(optimizer, 1, 10, anneal="up", cycle_momentum=False)
    with pytest.raises(TypeError, match="an Optimizer, got int"):
        optim.ExponentialLR(3, 0.5)
    schedule = optim.OneCycleLR(optimizer, 1.0, 3, cycle_momentum=False)
    with pytest.raises(ValueError, match="at most 2 calls of step"):
        rates(schedule, 3)
    with pytest.raises(ValueError, match="a state of 1 groups, got 2"):
        schedule.load_state_dict({"num_steps": 0, "base_lrs": [1, 2]})
