"""Schedules: their rates step by step, as PyTorch 2.13 gives them, and their states."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from dtrain import nn, optim


def optimizer() -> optim.SGD:
    return optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)


def cosine(step: int, length: int) -> float:
    return 0.1 + 0.9 * (1 + math.cos(math.pi * step / length)) / 2


SCHEDULES: dict[str, tuple[Any, list[float]]] = {
    "linear": (lambda o: optim.LinearLR(o, 0.2, 0.8, total_iters=3), [0.2, 0.4, 0.6, 0.8, 0.8]),
    "linear by default": (lambda o: optim.LinearLR(o), [1 / 3, 7 / 15, 9 / 15, 11 / 15, 13 / 15, 1, 1]),
    "constant": (lambda o: optim.ConstantLR(o, factor=0.5, total_iters=2), [0.5, 0.5, 1, 1]),
    "polynomial": (lambda o: optim.PolynomialLR(o, total_iters=4, power=2.0), [1, 9 / 16, 1 / 4, 1 / 16, 0, 0]),
    "restarts": (
        lambda o: optim.CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2, eta_min=0.1),
        [cosine(0, 2), cosine(1, 2), cosine(0, 4), cosine(1, 4), cosine(2, 4), cosine(3, 4), cosine(0, 8)],
    ),
    "one after another": (
        lambda o: optim.SequentialLR(
            o, schedulers=[optim.LinearLR(o, 0.5, num_steps=2), optim.StepLR(o, 1, 0.1)], milestones=[3]
        ),
        [0.5, 0.75, 1, 1, 0.1, 0.01],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_by_step(name: str) -> None:
    make, wanted = SCHEDULES[name]
    held = optimizer()
    scheduler = make(held)
    rates = []
    for _ in wanted:
        rates.append(held.param_groups[0]["lr"])
        scheduler.step()
    assert rates == pytest.approx(wanted)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_state_goes_on_where_it_was(name: str) -> None:
    make, wanted = SCHEDULES[name]
    first = make(optimizer())
    first.step()
    second = make(optimizer())
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    first.step()
    second.step()
    assert second.get_last_lr() == first.get_last_lr() == pytest.approx([wanted[2]])


METRICS = [3.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.5, 1.5, 1.5, 1.6, 1.7]


@pytest.mark.parametrize(
    ("options", "metrics", "wanted"),
    [
        ({"patience": 1}, METRICS, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"patience": 0, "min_lr": 0.3}, [1.0, 1.0, 1.0, 1.0], [1, 0.5, 0.3, 0.3]),
        ({"mode": "max", "patience": 0, "cooldown": 2}, [1.0, 1.0, 1.0, 1.0, 1.0], [1, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 0, "threshold": 0.5, "threshold_mode": "abs"}, [3.0, 2.6, 2.4, 2.4], [1, 0.5, 0.5, 0.25]),
    ],
)
def test_a_plateau_lowers_the_rate(options: dict[str, Any], metrics: list[float], wanted: list[float]) -> None:
    held = optimizer()
    scheduler = optim.ReduceLROnPlateau(held, factor=0.5, **options)
    rates = []
    for number, metric in enumerate(metrics):
        if number == 2:  # a state in between changes nothing
            fresh = optim.ReduceLROnPlateau(held, factor=0.5, **options)
            fresh.load_state_dict(scheduler.state_dict())
            scheduler = fresh
        scheduler.step(metric)
        rates.append(held.param_groups[0]["lr"])
    assert rates == pytest.approx(wanted)


def test_they_stand_where_pytorch_has_them() -> None:
    from dtrain.optim.lr_scheduler import LinearLR, ReduceLROnPlateau

    assert LinearLR is optim.LinearLR and ReduceLROnPlateau is optim.lr_scheduler.ReduceLROnPlateau
    with pytest.raises(AttributeError, match="did you mean"):
        _ = optim.lr_scheduler.LinaerLR


@pytest.mark.parametrize(
    "call",
    [
        lambda: optim.SequentialLR(optimizer(), [optim.LinearLR(optimizer())], [3]),
        lambda: optim.ReduceLROnPlateau(optimizer(), "least"),
        lambda: optim.ReduceLROnPlateau(optimizer(), factor=1.5),
        lambda: optim.PolynomialLR(optimizer(), num_steps=0),
        lambda: optim.CosineAnnealingWarmRestarts(optimizer(), T_0=0),
    ],
)
def test_bad_arguments(call: Any) -> None:
    with pytest.raises(ValueError):
        call()
