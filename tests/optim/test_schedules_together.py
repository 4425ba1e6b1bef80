"""Several schedules of one optimizer, and rates that are changed by hand: nothing is overwritten without a word."""

from __future__ import annotations

from typing import Any

import pytest

from dtrain import nn, optim

A = [0.5 if step < 3 else 1.0 for step in range(6)]  # ConstantLR(0.5, 3)
B = [0.9**step for step in range(6)]  # ExponentialLR(0.9)


def optimizer() -> optim.SGD:
    return optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)


def pair(held: optim.Optimizer) -> list[Any]:
    return [optim.ConstantLR(held, 0.5, 3), optim.ExponentialLR(held, 0.9)]


def rates(held: optim.Optimizer, schedules: list[Any], num_steps: int) -> list[float]:
    found = [held.param_groups[0]["lr"]]
    for _ in range(num_steps):
        for schedule in schedules:
            schedule.step()
        found.append(held.param_groups[0]["lr"])
    return found


def test_factors_of_schedules_side_by_side_multiply() -> None:
    wanted = pytest.approx([a * b for a, b in zip(A, B)])
    held = optimizer()
    assert rates(held, pair(held), 5) == wanted
    held = optimizer()
    assert rates(held, [optim.ChainedScheduler(pair(held))], 5) == wanted


@pytest.mark.parametrize("order", [1, -1])
def test_schedules_side_by_side_resume_in_any_order(order: int) -> None:
    held, fresh = optimizer(), optimizer()
    schedules = pair(held)
    rates(held, schedules, 2)
    resumed = pair(fresh)
    for schedule, before in list(zip(resumed, schedules))[::order]:
        schedule.load_state_dict(before.state_dict())
    assert rates(fresh, resumed, 3) == pytest.approx([a * b for a, b in zip(A[2:], B[2:])])


def test_a_rate_changed_by_hand_is_scaled_from_there_on() -> None:
    held = optimizer()
    schedule = optim.StepLR(held, 2, 0.1)
    schedule.step()
    held.param_groups[0]["lr"] /= 4
    assert rates(held, [schedule], 3) == pytest.approx([0.25, 0.025, 0.025, 0.0025])
    held = optimizer()
    plateau = optim.ReduceLROnPlateau(held, factor=0.5, patience=0)
    held.param_groups[0]["lr"] = 0.2
    plateau.step(1.0), plateau.step(1.0)
    assert held.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_plateau_beside_another_schedule_keeps_what_it_lowered() -> None:
    held = optimizer()
    decay, plateau = optim.ExponentialLR(held, 0.9), optim.ReduceLROnPlateau(held, factor=0.5, patience=0)
    found = []
    for metric in (1.0, 1.0, 0.5, 0.5):
        decay.step(), plateau.step(metric)
        found.append(held.param_groups[0]["lr"])
    assert found == pytest.approx([0.9, 0.9**2 / 2, 0.9**3 / 2, 0.9**4 / 4])


def test_schedules_within_another_leave_the_rate_to_it() -> None:
    held = optimizer()
    inner = optim.SequentialLR(held, pair(held), [2])
    outer = optim.LinearWarmup(held, 2, start_factor=0.2, after=inner)
    assert rates(held, [outer], 5) == pytest.approx([0.2, 0.6, 0.5, 0.5, 1.0, 0.9])


def test_a_schedule_for_a_resumed_optimizer_counts_from_its_first_rate() -> None:
    held = optimizer()
    rates(held, [optim.ExponentialLR(held, 0.5)], 3)
    fresh = optimizer()
    fresh.load_state_dict(held.state_dict())
    assert rates(fresh, [optim.ExponentialLR(fresh, 0.5)], 3) == [1, 0.5, 0.25, 0.125]


def test_formulas_of_rates_themselves_are_not_scaled() -> None:
    held = optimizer()
    schedule = optim.LambdaLR(held, lambda step: 1 / (1 + step))
    held.param_groups[0]["lr"] = 0.01
    assert rates(held, [schedule], 1) == [0.01, 0.5]


@pytest.mark.parametrize(("mode", "first"), [("min", float("inf")), ("min", float("nan")), ("max", float("-inf"))])
def test_a_first_metric_without_meaning_is_not_the_best(mode: Any, first: float) -> None:
    held = optimizer()
    plateau = optim.ReduceLROnPlateau(held, mode, 0.5, patience=1)
    sign = 1 if mode == "max" else -1
    for metric in (first, -sign * 3.0, -sign * 2.0, -sign * 1.0):
        plateau.step(metric)
    assert plateau.best == -sign * 1.0 and held.param_groups[0]["lr"] == 1


def test_a_lowest_rate_for_each_group() -> None:
    layer = nn.Linear(1, 1)
    held = optim.SGD([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=1.0)
    plateau = optim.ReduceLROnPlateau(held, factor=0.1, patience=0, min_lr=[0.5, 0.0])
    plateau.step(1.0), plateau.step(1.0)
    assert plateau.get_last_lr() == [0.5, 0.1]
    with pytest.raises(ValueError, match="expected a min_lr, or 2, one a group, got 3"):
        optim.ReduceLROnPlateau(held, min_lr=[0.1] * 3)
    lowest = optim.ReduceLROnPlateau(optimizer(), factor=0.1, patience=0, eps=0.95)
    lowest.step(1.0), lowest.step(1.0)
    assert lowest.get_last_lr() == [1.0]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="ChainedScheduler: expected schedules of one optimizer, got 2 schedules of 2"):
        optim.ChainedScheduler([optim.StepLR(optimizer(), 1), optim.StepLR(optimizer(), 1)])
    held = optimizer()
    with pytest.raises(TypeError, match="ReduceLROnPlateau: expected to be stepped by itself, with the metric"):
        optim.SequentialLR(held, [optim.ReduceLROnPlateau(held), optim.StepLR(held, 1)], [2])
    schedule = optim.StepLR(held, 1)
    with pytest.raises(ValueError, match="StepLR: expected 1 scales of at least 0, got "):
        schedule.load_state_dict({**schedule.state_dict(), "scales": [float("nan")]})


def test_a_rate_that_is_changed_where_the_schedule_has_0():
    """Nobody knows by which factor: the schedule goes on with its own."""
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.1)
    schedule = optim.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=1)
    schedule.step()
    optimizer.param_groups[0]["lr"] = 0.3
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0


def test_factors_of_a_base_rate_of_0():
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.0)
    schedule = optim.ChainedScheduler([optim.ExponentialLR(optimizer, 0.5), optim.ConstantLR(optimizer)])
    schedule.step()
    assert schedule.get_last_lr() == [0]
