"""Settings, parameters and state that a script exchanges from outside are those of the next step, traced too."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict

import numpy as np
import pytest

import dtrain as dt
from dtrain import optim


def parameter(value: float = 1.0) -> dt.Parameter:
    return dt.Parameter(np.array([value]))


class Run:
    """Steps with gradients of 1, eagerly or as one traced function."""

    def __init__(self, optimizer, traced: bool) -> None:
        self.optimizer = optimizer
        self._step = dt.trace(optimizer.step) if traced else optimizer.step

    def __call__(self, *parameters: dt.Parameter, gradient: float = 1.0) -> list[float]:
        for each in parameters:
            each.grad = dt.full((1,), gradient, dtype="f64")
        self._step()
        return [each.item() for each in parameters]


traced_or_not = pytest.mark.parametrize("traced", [False, True])
KINDS = {
    "sgd": lambda p: optim.SGD(p, lr=0.5, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.5),
    "amsgrad": lambda p: optim.AdamW(p, lr=0.5, amsgrad=True),
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@traced_or_not
@pytest.mark.parametrize(
    "change",
    [
        lambda group, settings: group.update(settings),
        lambda group, settings: group.update(**settings),
        lambda group, settings: group.update(settings.items()),
        lambda group, settings: group.__ior__(settings),
    ],
)
def test_settings_come_in_every_way_of_a_dict(change, traced) -> None:
    x = parameter()
    run = Run(optim.SGD([x], lr=1.0), traced)
    assert run(x) == [0.0]
    change(run.optimizer.param_groups[0], {"lr": 0.5})
    assert run(x) == [-0.5]
    change(run.optimizer.param_groups[0], {"weight_decay": 2.0})
    assert run(x) == [-0.5]  # 1 − 2 · 0.5 = 0
    change(run.optimizer.param_groups[0], {"weight_decay": 0.0, "maximize": True})
    assert run(x) == [0.0]


def test_defaults_of_a_group_are_set_once() -> None:
    group = optim.SGD([parameter()], lr=1.0).param_groups[0]
    assert group.setdefault("lr", 3.0) == 1.0 and group.setdefault("initial_lr", 2.0) == 2.0 == group["initial_lr"]


@traced_or_not
@kinds
def test_parameters_that_a_group_gets_and_loses(make, traced) -> None:
    x, y = parameter(), parameter(3.0)
    run = Run(make([x]), traced)
    run(x, y)
    assert y.item() == 3.0
    params = run.optimizer.param_groups[0]["params"]
    params.append(y)
    fresh = parameter(3.0)
    assert run(x, y)[1] == Run(make([fresh]), traced)(fresh)[0]
    params.remove(x)
    before = x.item()
    run(x, y)
    assert x.item() == before != y.item()
    run.optimizer.param_groups[0]["params"] = [x]
    after = y.item()
    run(x, y)
    assert x.item() != before and y.item() == after


@traced_or_not
@kinds
@pytest.mark.parametrize(
    "forget",
    [
        lambda optimizer: optimizer.state.clear(),
        lambda optimizer: setattr(optimizer, "state", defaultdict(dict)),
        lambda optimizer: [own.clear() for own in optimizer.state.values()],
    ],
)
def test_state_that_is_forgotten_begins_anew(forget, make, traced) -> None:
    x = parameter()
    run = Run(make([x]), traced)
    run(x)
    run(x, gradient=-3.0)
    forget(run.optimizer)
    fresh = parameter(x.item())
    assert run(x) == pytest.approx(Run(make([fresh]), traced)(fresh), rel=1e-12)
    assert run(x, gradient=0.5) == pytest.approx(run_twice(make, fresh_from=fresh, traced=traced), rel=1e-12)


def run_twice(make, *, fresh_from: dt.Parameter, traced: bool) -> list[float]:
    """The second of two steps of a new optimizer, whose first one led to where `fresh_from` is."""
    moved = fresh_from.item()
    start = parameter(moved)
    run = Run(make([start]), traced)
    run(start)
    step = start.item() - moved
    with dt.no_grad():
        start.copy_(dt.full((1,), moved, dtype="f64"))
    assert step != 0
    return run(start, gradient=0.5)


@traced_or_not
def test_a_state_tensor_that_is_exchanged(traced) -> None:
    x = parameter()
    run = Run(optim.SGD([x], lr=1.0, momentum=0.5), traced)
    assert run(x) == [0.0] and run(x) == [-1.5]
    run.optimizer.state[x]["momentum_buffer"] = dt.full((1,), 4.0, dtype="f64")
    assert run(x) == [-4.5]
    assert run.optimizer.state_dict()["state"]["0"]["momentum_buffer"].item() == 3.0


@pytest.mark.parametrize("wrong", [np.zeros(1), dt.zeros(2, dtype="f64"), dt.zeros(1), None])
def test_state_of_another_type_is_refused(wrong) -> None:
    x = parameter()
    run = Run(optim.SGD([x], lr=1.0, momentum=0.5), traced=False)
    run(x)
    run.optimizer.state[x]["momentum_buffer"] = wrong
    with pytest.raises(TypeError, match="SGD: expected state momentum_buffer of type f64"):
        run(x)


@pytest.mark.parametrize("wrong", [dt.zeros(1), 3])
def test_what_is_no_parameter_is_refused(wrong) -> None:
    x = parameter()
    run = Run(optim.SGD([x], lr=1.0), traced=False)
    run.optimizer.param_groups[0]["params"].append(wrong)
    with pytest.raises(TypeError, match="SGD: expected Parameters"):
        run(x)


@kinds
def test_states_are_saved_and_loaded_as_they_are_now(make) -> None:
    x, y = parameter(), parameter(2.0)
    run = Run(make([x]), traced=False)
    run(x)
    run.optimizer.state.clear()
    run.optimizer.param_groups[0]["params"].append(y)
    saved = copy.deepcopy(run.optimizer.state_dict())
    others = [parameter(x.item()), parameter(2.0)]
    resumed = Run(make(others), traced=False)
    resumed.optimizer.load_state_dict(saved)
    copied, (p, q) = pickle.loads(pickle.dumps((run.optimizer, [x, y])))
    for gradient in (1.0, -2.0):
        wanted = run(x, y, gradient=gradient)
        assert resumed(*others, gradient=gradient) == wanted
        assert Run(copied, traced=False)(p, q, gradient=gradient) == wanted


@traced_or_not
def test_dampening_begins_in_the_middle(traced) -> None:
    """PyTorch dampens all but the first step of a buffer: that of before goes on."""
    x = parameter(0.0)
    run = Run(optim.SGD([x], lr=1.0, momentum=0.5), traced)
    buffer, expected = 0.0, 0.0
    for step in range(6):
        if step == 2:
            run.optimizer.param_groups[0]["dampening"] = 0.25
        if step == 4:
            run.optimizer.param_groups[0]["dampening"] = 0.0
        buffer = buffer * 0.5 + (0.75 if 2 <= step < 4 else 1.0)
        expected -= buffer
        assert run(x) == [expected]


@traced_or_not
def test_a_parameter_without_a_step_so_far_is_not_dampened(traced) -> None:
    x, y = parameter(0.0), parameter(0.0)
    run = Run(optim.SGD([x, y], lr=1.0, momentum=0.5), traced)
    run(x)
    y.grad = None
    run.optimizer.param_groups[0]["dampening"] = 0.25
    assert run(x, y) == [-1 - (0.5 + 0.75), -1.0]


@pytest.mark.parametrize(
    ("make", "setting"),
    [(lambda p: optim.SGD(p, lr=0.1), {"momentum": 0.9}), (lambda p: optim.Adam(p), {"amsgrad": True})],
)
def test_a_state_saved_right_after_a_setting_that_needs_more_can_be_loaded(make, setting) -> None:
    x = parameter()
    run = Run(make([x]), traced=False)
    run(x)
    run.optimizer.param_groups[0].update(setting)
    other = parameter(x.item())
    resumed = Run(make([other]), traced=False)
    resumed.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    assert resumed(other) == run(x)
