"""Every optimizer and schedule that exists here, with all options, beside PyTorch's over twenty steps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install 'dtrain[peers]'")

from dtrain import nn, optim
from peers.compare import difference
from peers.exchange import NotOurs, leaves_of, quietly, to_ours
from peers.judge import NO_SUCH_ARGUMENT
from peers.tally import AGREED, DIFFERENT, EQUAL, MISSING, TALLY
from peers.test_error_inputs import is_worded_here

optim_db = quietly(__import__, "torch.testing._internal.common_optimizers", fromlist=["optim_db"]).optim_db
OURS = [info for info in optim_db if hasattr(optim, info.optim_cls.__name__)]
STEPS = 20
SHAPES = ((5, 3), (4,), ())

pytestmark = pytest.mark.peers


def own_options(name: str) -> list[dict[str, Any]]:
    """All options of ours in all combinations."""
    grids: dict[str, dict[str, tuple[Any, ...]]] = {
        "SGD": {
            "momentum": (0.0, 0.9), "dampening": (0.0, 0.3), "weight_decay": (0.0, 0.1), "nesterov": (False, True),
            "maximize": (False, True),
        },
        "Adam": {
            "betas": ((0.9, 0.999), (0.5, 0.7)), "eps": (1e-8, 1e-3), "weight_decay": (0.0, 0.1),
            "amsgrad": (False, True), "maximize": (False, True),
        },
    }  # fmt: skip
    grid = grids[name.removesuffix("W")]
    every = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    return [{**o, "lr": 0.05} for o in every if not o.get("nesterov") or (o["momentum"] and not o["dampening"])]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("info", OURS, ids=lambda info: info.optim_cls.__name__)
def test_optimizers_take_the_same_steps(info: Any, dtype: torch.dtype) -> None:
    name, failures = info.optim_cls.__name__, []
    given = [entry.kwargs for entry in info.optim_inputs_func(device="cpu")]
    for options in [*given, *own_options(name)]:
        if isinstance(options.get("lr"), torch.Tensor):
            TALLY.note("optimizers", MISSING, f"{name}: lr as a tensor")
            continue
        apart = steps_apart(info.optim_cls, {"lr": 1e-3, **options}, dtype)
        TALLY.note("optimizers", DIFFERENT if apart else EQUAL, f"{name}: {apart}")
        failures += [f"{options}: {apart}"] if apart else []
    assert not failures, "\n".join(failures)


def steps_apart(kind: Any, options: dict[str, Any], dtype: torch.dtype) -> str:
    random = np.random.default_rng(3)
    theirs = [torch.tensor(random.normal(size=shape), dtype=dtype, requires_grad=True) for shape in SHAPES]
    ours = [nn.Parameter(to_ours(tensor.detach())) for tensor in theirs]
    a, b = kind(theirs, **options), getattr(optim, kind.__name__)(ours, **options)
    for step in range(STEPS):
        for theirs_one, ours_one in zip(theirs, ours):
            gradient = torch.tensor(random.normal(size=tuple(theirs_one.shape)), dtype=dtype)
            theirs_one.grad, ours_one.grad = gradient, to_ours(gradient)
        quietly(a.step)
        b.step()
        if apart := difference([one.detach() for one in ours], [one.detach() for one in theirs]):
            return f"step {step}: {apart}"
    return ""


@pytest.mark.parametrize("info", OURS, ids=lambda info: info.optim_cls.__name__)
def test_wrong_options_raise_our_own_errors(info: Any) -> None:
    failures, name = [], info.optim_cls.__name__
    for wrong in info.optim_error_inputs_func("cpu", torch.float32):
        entry = wrong.optimizer_error_input
        if "names" in wrong.error_regex or "named" in wrong.error_regex or "UserWarning" in str(wrong.error_type):
            TALLY.note("wrong options", MISSING, f"{name}: {wrong.error_regex}")
            continue
        way, why = refusal(name, entry)
        TALLY.note("wrong options", way, f"{name}: {why}")
        failures += [f"{entry.kwargs}: {why}; theirs: {wrong.error_regex}"] if way == DIFFERENT else []
    assert not failures, "\n".join(failures)


def refusal(name: str, entry: Any) -> tuple[str, str]:
    one = [nn.Parameter(to_ours(torch.zeros(2)))]
    try:
        given = to_ours(entry.params) if entry.params is not None else one
        getattr(optim, name)(given, **{"lr": 1e-3, **to_ours(entry.kwargs)})
    except NotOurs as error:
        return MISSING, str(error)
    except Exception as error:
        if isinstance(error, TypeError) and (absent := NO_SUCH_ARGUMENT.search(str(error))):
            return MISSING, absent[0]
        return (EQUAL, "") if is_worded_here(error) else (DIFFERENT, f"{type(error).__name__}: {error}")
    if leaves_of(entry.kwargs, torch.Tensor):
        return AGREED, "a tensor of one number is a number"
    return DIFFERENT, "taken"


SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "StepLR": [{"step_size": 3}, {"step_size": 4, "gamma": 0.5}],
    "MultiStepLR": [{"milestones": [2, 5, 11]}, {"milestones": [3, 3, 9], "gamma": 0.5}],
    "ConstantLR": [{}, {"factor": 0.5, "total_iters": 7}],
    "LinearLR": [{}, {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 9}],
    "ExponentialLR": [{"gamma": 0.9}],
    "CosineAnnealingLR": [{"T_max": 20}, {"T_max": 6, "eta_min": 0.01}],
    "CosineAnnealingWarmRestarts": [{"T_0": 4}, {"T_0": 3, "T_mult": 2, "eta_min": 0.01}],
    "PolynomialLR": [{}, {"total_iters": 12, "power": 2.0}],
    "LambdaLR": [{"lr_lambda": lambda epoch: 0.9**epoch}],
    "OneCycleLR": [
        {"max_lr": 0.5, "total_steps": 21},
        {"max_lr": 0.5, "total_steps": 30, "pct_start": 0.2, "anneal_strategy": "linear"},
    ],
    "ReduceLROnPlateau": [
        {"patience": 2},
        {"mode": "max", "factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.01},
    ],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_the_same_rates(name: str) -> None:
    for options in SCHEDULES[name]:
        mine = rates(optim, nn.Parameter(to_ours(torch.zeros(2))), name, options)
        other = rates(torch.optim, torch.nn.Parameter(torch.zeros(2)), name, options)
        same = np.allclose(mine, other, rtol=1e-12)
        TALLY.note("schedules", EQUAL if same else DIFFERENT, f"{name} {options}")
        assert same, f"{options}: {mine}, theirs {other}"


def rates(place: Any, parameter: Any, name: str, options: dict[str, Any]) -> list[float]:
    optimizer = place.SGD([parameter], lr=0.1)
    if name == "OneCycleLR":
        options = {**options, "cycle_momentum": False}  # there is no other here
    schedule = getattr(place if place is optim else place.lr_scheduler, name)(optimizer, **options)
    found = [optimizer.param_groups[0]["lr"]]
    for epoch in range(STEPS):
        quietly(optimizer.step)
        quietly(schedule.step, *([1 / (1 + epoch % 5)] if name == "ReduceLROnPlateau" else []))
        found.append(optimizer.param_groups[0]["lr"])
    return found


# Several schedules of one optimizer: each is stepped, or the last, which holds the others.
TOGETHER: dict[str, Any] = {
    "side by side": lambda o, p: [p.ConstantLR(o, 0.5, total_iters=3), p.ExponentialLR(o, 0.9)],
    "three": lambda o, p: [p.LinearLR(o, 0.2, total_iters=4), p.StepLR(o, 3, 0.5), p.CosineAnnealingLR(o, 30)],
    "one after another": lambda o, p: [
        p.SequentialLR(o, [p.LinearLR(o, 0.1, total_iters=4), p.CosineAnnealingLR(o, 12, 0.01)], milestones=[4])
    ],
    "three after another": lambda o, p: [
        p.SequentialLR(o, [p.ConstantLR(o, 0.1, 3), p.StepLR(o, 2, 0.5), p.ExponentialLR(o, 0.9)], milestones=[3, 9])
    ],
    "chained": lambda o, p: [p.ChainedScheduler([p.ConstantLR(o, 0.1, 3), p.ExponentialLR(o, 0.9), p.StepLR(o, 5)])],
}


# A change by hand is not tried with schedules one after another: PyTorch forgets it at the next milestone.
@pytest.mark.parametrize(
    ("name", "by_hand"),
    [(name, by_hand) for name in TOGETHER for by_hand in (False, True) if not (by_hand and "after another" in name)],
)
def test_schedules_together_give_the_same_rates(name: str, by_hand: bool) -> None:
    found = []
    for place, parameter in ((optim, nn.Parameter(to_ours(torch.zeros(2)))), (torch.optim, torch.zeros(2))):
        optimizer = place.SGD([parameter.requires_grad_()], lr=0.1)
        schedules = TOGETHER[name](optimizer, place.lr_scheduler)
        found.append([optimizer.param_groups[0]["lr"]])
        for step in range(STEPS):
            quietly(optimizer.step)
            for schedule in schedules:
                quietly(schedule.step)
            if by_hand and step == 5:
                optimizer.param_groups[0]["lr"] *= 0.5
            found[-1].append(optimizer.param_groups[0]["lr"])
    same = np.allclose(*found, rtol=1e-9)
    TALLY.note("schedules together", EQUAL if same else DIFFERENT, name)
    assert same, f"{found[0]}, theirs {found[1]}"


PLATEAUS = [
    {"mode": mode, "threshold_mode": threshold_mode, "threshold": threshold, "patience": patience, "cooldown": cooldown}
    for mode in ("min", "max")
    for threshold_mode in ("rel", "abs")
    for threshold in (1e-4, 0.2)
    for patience in (0, 2)
    for cooldown in (0, 3)
]


@pytest.mark.parametrize("first", [1.0, float("inf"), float("nan"), float("-inf")])
def test_plateaus_give_the_same_rates(first: float) -> None:
    metrics = [first, *np.abs(np.random.default_rng(5).normal(size=40)).tolist()]
    for options in PLATEAUS:
        found = []
        for place, parameter in ((optim, nn.Parameter(to_ours(torch.zeros(2)))), (torch.optim, torch.zeros(2))):
            optimizer = place.SGD([parameter.requires_grad_()], lr=0.1)
            schedule = place.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, min_lr=1e-3, **options)
            found.append([])
            for metric in metrics:
                quietly(schedule.step, metric)
                found[-1].append(optimizer.param_groups[0]["lr"])
        same = np.allclose(*found, rtol=1e-12)
        TALLY.note("plateaus", EQUAL if same else DIFFERENT, f"{options}")
        assert same, f"{options}: {found[0]}, theirs {found[1]}"
