"""What all optimizers share: groups, errors, state, traced steps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from helpers.update_formulas import adam, sgd

import dtrain as dt
from dtrain import optim
from dtrain.base.errors import ShapeError
from dtrain.optim.adam import Adam
from dtrain.optim.sgd import SGD

OPTIMIZERS = {
    "sgd": lambda params: SGD(params, 0.1),
    "momentum": lambda params: SGD(params, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda params: Adam(params, 0.1),
    "adamw": lambda params: optim.AdamW(params, 0.1, maximize=True),
}


def parameter(*values: float, dtype: str = "f32") -> dt.Parameter:
    return dt.Parameter(dt.tensor(list(values), dtype=dtype))


@pytest.fixture(params=OPTIMIZERS)
def make(request):
    return OPTIMIZERS[request.param]


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, "at least one parameter, got none; pass model.parameters"),
        ({parameter(1.0)}, TypeError, "a list or generator of parameters, got set"),
        (parameter(1.0), TypeError, "a list or generator of parameters, got Parameter"),
        ([{"params": {parameter(1.0)}}], TypeError, "a group with an ordered list of params, got set"),
        ([{"params": []}], ValueError, "at least one parameter in a group"),
        ([{"lr": 1.0}], TypeError, "a group with an ordered list of params, got none"),
        ([dt.tensor([1.0])], TypeError, r"Parameters, got Tensor; wrap tensors in dt\.Parameter"),
        ([1.0], TypeError, "Parameters, got float"),
        ([{"params": [parameter(1.0)], "speed": 1}], ValueError, "settings among lr, .*, got speed"),
        ([{"params": [parameter(1.0)], "lr": -1.0}], ValueError, r"lr of at least 0, got -1\.0"),
    ],
)
def test_bad_parameters_are_refused(make, params, error, message):
    with pytest.raises(error, match=message):
        make(params)


def test_a_parameter_may_occur_once():
    shared = parameter(1.0)
    with pytest.raises(ValueError, match="each parameter once"):
        SGD([shared, shared], 0.1)
    with pytest.raises(ValueError, match="each parameter in one group"):
        SGD([{"params": [shared]}, {"params": [shared]}], 0.1)


@pytest.mark.parametrize("lr", [-0.1, float("nan")])
def test_learning_rates_are_checked(make, lr):
    with pytest.raises(ValueError, match="lr of at least 0"):
        make([{"params": [parameter(1.0)], "lr": lr}])


# Steps ----------------------------------------------------------------------------------------------------------------


def test_groups_have_settings_of_their_own():
    fast, slow = parameter(1.0), parameter(1.0)
    optimizer = SGD([{"params": fast, "lr": 0.5}, {"params": [slow]}], 0.1)
    fast.grad, slow.grad = dt.tensor([1.0]), dt.tensor([1.0])
    optimizer.step()
    assert fast.item() == pytest.approx(0.5) and slow.item() == pytest.approx(0.9)


def test_a_step_happens_in_place_and_leaves_no_history(make):
    weight = parameter(1.0, 2.0)
    array, optimizer = weight.array, make([weight])
    (weight * weight).sum().backward()
    optimizer.step()
    assert weight.array is array and weight.is_leaf and not np.array_equal(array, [1, 2])


def test_parameters_without_a_gradient_stay(make):
    used, unused = parameter(1.0), parameter(1.0)
    optimizer = make([used, unused])
    optimizer.step()
    assert used.item() == 1
    used.grad = dt.tensor([1.0])
    optimizer.step()
    assert used.item() != 1 and unused.item() == 1


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_parameter_that_joins_late_counts_its_own_steps(name):
    make = OPTIMIZERS[name]
    early, late = parameter(1.0, dtype="f64"), parameter(1.0, dtype="f64")
    optimizer = make([early, late])
    for step in range(5):
        optimizer.zero_grad()
        early.grad = dt.tensor([0.5], dtype="f64")
        if step >= 2:
            late.grad = dt.tensor([0.5], dtype="f64")
        optimizer.step()
    formula, options = (
        (sgd, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}) if name == "momentum" else (adam, {})
    )
    assert early.item() == pytest.approx(formula(1.0, [0.5] * 5, lr=0.1, **options), abs=1e-14)
    assert late.item() == pytest.approx(formula(1.0, [0.5] * 3, lr=0.1, **options), abs=1e-14)


def test_dtypes_are_updated_side_by_side(make):
    params = [parameter(1.0, dtype=dtype) for dtype in ("f32", "f64", "f16", "bf16")]
    optimizer = make(params)
    for param in params:
        param.grad = dt.ones_like(param)
    optimizer.step()
    values = [float(param.to("f64").item()) for param in params]
    assert all(value != 1 for value in values)
    np.testing.assert_allclose(values[2:], values[1], rtol=8e-3)
    np.testing.assert_allclose(values[0], values[1], rtol=1e-6)


def test_zero_grad_forgets_gradients(make):
    weight = parameter(1.0)
    optimizer = make([weight])
    weight.grad = dt.tensor([1.0])
    optimizer.zero_grad()
    assert weight.grad is None


def test_a_new_learning_rate_takes_effect():
    weight = parameter(1.0)
    optimizer = SGD([weight], 0.1)
    optimizer.param_groups[0]["lr"] = 0.5
    weight.grad = dt.tensor([1.0])
    optimizer.step()
    assert weight.item() == 0.5


# Traced ---------------------------------------------------------------------------------------------------------------


def run_steps(make, num_steps, *, traced, change=None):
    """Values after each step of a small problem; `change(optimizer, step)` may interfere between steps."""
    first, second = parameter(1.0, -2.0), parameter(3.0)
    optimizer = make([first, second])

    def step(x):
        optimizer.zero_grad()
        ((first * x).sum() * second).sum().backward()
        optimizer.step()
        return second * 1

    run = dt.trace(step) if traced else step
    seen = []
    for number in range(num_steps):
        if change:
            change(optimizer, number)
        seen.append(run(dt.tensor([1.0, 0.5 * number])).item())
    return seen, first.tolist(), run


def test_traced_steps_are_bitwise_the_eager_ones_without_capturing_again(make):
    eager, eager_first, _ = run_steps(make, 6, traced=False)
    traced, traced_first, run = run_steps(make, 6, traced=True)
    assert traced == eager and traced_first == eager_first
    assert len(run.graphs) == 1


def test_a_schedule_reaches_a_traced_step_without_a_new_capture(make):
    def decay(optimizer, step):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)

    eager, _, _ = run_steps(make, 5, traced=False, change=decay)
    traced, _, run = run_steps(make, 5, traced=True, change=decay)
    assert traced == eager and len(run.graphs) == 1
    assert eager != run_steps(make, 5, traced=False)[0]


def test_another_setting_makes_a_new_capture(make):
    def stop_decay(optimizer, step):
        if step == 3:
            optimizer.param_groups[0]["weight_decay"] = 0.5

    eager, _, _ = run_steps(make, 5, traced=False, change=stop_decay)
    traced, _, run = run_steps(make, 5, traced=True, change=stop_decay)
    assert traced == eager and len(run.graphs) == 2


def test_settings_cannot_change_inside_a_trace():
    weight = parameter(1.0)
    optimizer = SGD([weight], 0.1)

    @dt.trace
    def step(x):
        optimizer.param_groups[0]["lr"] = 0.5
        return x

    with pytest.raises(dt.errors.TraceError, match="call the scheduler after the traced step"):
        step(dt.tensor(1.0))


def test_a_parameter_that_joins_late_counts_its_own_steps_traced_too():
    early, late = parameter(1.0), parameter(1.0)
    optimizer = Adam([early, late], 0.1)

    @dt.trace
    def step(x, with_late):
        optimizer.zero_grad()
        loss = (early * x).sum()
        if with_late:
            loss = loss + (late * x).sum()
        loss.backward()
        optimizer.step()

    for with_late in (True, False, False, True, False, True):
        step(dt.tensor([0.5]), with_late)
    assert early.item() == pytest.approx(adam(1.0, [0.5] * 6, lr=0.1), rel=1e-6)
    assert late.item() == pytest.approx(adam(1.0, [0.5] * 3, lr=0.1), rel=1e-6)
    assert len(step.graphs) <= 4


# Saving ---------------------------------------------------------------------------------------------------------------


def advance(weights, optimizer, num_steps):
    for step in range(num_steps):
        for position, weight in enumerate(weights):
            weight.grad = dt.full_like(weight, 0.3 * (step + position))
        if step == 1:
            weights[1].grad = None
        optimizer.step()


def test_a_loaded_state_goes_on_bitwise(make):
    weights = [parameter(1.0, 2.0), parameter(3.0)]
    optimizer = make(weights)
    optimizer.param_groups[0]["lr"] = 0.05
    advance(weights, optimizer, 3)
    state = copy.deepcopy(optimizer.state_dict())
    twins = [dt.Parameter(weight.numpy().copy()) for weight in weights]
    twin = make(twins)
    twin.load_state_dict(state)
    advance(weights, optimizer, 3)
    advance(twins, twin, 3)
    for weight, other in zip(weights, twins):
        assert weight.tolist() == other.tolist()
    assert twin.param_groups[0]["lr"] == 0.05


def test_a_traced_step_sees_a_loaded_state():
    weight = parameter(1.0)
    optimizer = Adam([weight], 0.1)

    @dt.trace
    def step(x):
        optimizer.zero_grad()
        (weight * x).sum().backward()
        optimizer.step()

    begin = copy.deepcopy(optimizer.state_dict())
    for _ in range(2):
        weight.assign_(dt.tensor([1.0]))
        optimizer.load_state_dict(copy.deepcopy(begin))
        for _ in range(3):
            step(dt.tensor([0.5]))
        assert weight.item() == pytest.approx(adam(1.0, [0.5] * 3, lr=0.1), rel=1e-6)


def test_loading_a_state_of_the_same_kind_keeps_the_capture(make):
    weight = parameter(1.0)
    optimizer = make([weight])

    @dt.trace
    def step(x):
        optimizer.zero_grad()
        (weight * x).sum().backward()
        optimizer.step()

    begin = copy.deepcopy(optimizer.state_dict())
    seen = []
    for _ in range(3):
        weight.assign_(dt.tensor([1.0]))
        optimizer.load_state_dict(copy.deepcopy(begin))
        for _ in range(2):
            step(dt.tensor([0.5]))
        seen.append(weight.item())
    assert seen[0] == seen[1] == seen[2] != 1 and len(step.graphs) == 1


def test_a_group_added_after_a_capture_is_updated():
    first, second = parameter(1.0), parameter(1.0)
    optimizer = SGD([first], 0.1)

    @dt.trace
    def step(x):
        optimizer.zero_grad()
        ((first + second) * x).sum().backward()
        optimizer.step()

    step(dt.tensor([1.0]))
    assert second.item() == 1
    optimizer.add_param_group({"params": [second]})
    second.grad = None
    step(dt.tensor([1.0]))
    assert second.item() == pytest.approx(0.9) and first.item() == pytest.approx(0.8)


def test_state_of_other_models_is_refused():
    optimizer = Adam([parameter(1.0)], 0.1)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, got groups of \[2\]"):
        optimizer.load_state_dict(Adam([parameter(1.0), parameter(1.0)], 0.1).state_dict())
    with pytest.raises(ShapeError, match=r"0\.exp_avg of shape \(1,\), got \(2,\)"):
        optimizer.load_state_dict(Adam([parameter(1.0, 2.0)], 0.1).state_dict())
    with pytest.raises(ValueError, match=r"settings among .*, got momentum; same kind of optimizer"):
        optimizer.load_state_dict(SGD([parameter(1.0)], 0.1).state_dict())
    with pytest.raises(KeyError, match=r"1 missing \(0\.momentum_buffer\)"):
        SGD([parameter(1.0)], 0.1, momentum=0.9).load_state_dict(SGD([parameter(1.0)], 0.1).state_dict())


def test_a_refused_state_changes_nothing():
    weight = parameter(1.0)
    optimizer = SGD([weight], 0.1, momentum=0.9)
    other = SGD([parameter(1.0)], 0.7, momentum=0.9).state_dict()
    other["param_groups"][0]["speed"] = 1
    with pytest.raises(ValueError, match=r"settings among .*, got speed"):
        optimizer.load_state_dict(other)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("traced", [False, True])
def test_frozen_parameters_wait_until_they_are_unfrozen(make, traced):
    """A model of which a part is frozen is given as it is; the frozen part moves from the step that unfreezes it."""
    frozen, free = dt.Parameter([1.0, 1.5], requires_grad=False), parameter(2.5)
    optimizer = make([{"params": [frozen]}, {"params": [free]}])

    def step():
        optimizer.zero_grad()
        ((frozen * free) ** 2).sum().backward()
        optimizer.step()

    run = dt.trace(step) if traced else step
    for _ in range(2):
        run()
    assert frozen.tolist() == [1.0, 1.5] and frozen.grad is None and free.item() != 2.5
    frozen.requires_grad_(True)
    run()
    assert all(new != old for new, old in zip(frozen.tolist(), [1.0, 1.5]))


def test_a_late_parameter_counts_its_own_steps():
    """Unfrozen after two steps of the others, it moves as in an optimizer that has never seen a step."""
    late, free, alone = dt.Parameter([1.0, 2.0], requires_grad=False), parameter(3.0), dt.Parameter([1.0, 2.0])
    optimizer, fresh = Adam([late, free], lr=0.1), Adam([alone], lr=0.1)
    for step in range(3):
        late.requires_grad_(step == 2)
        optimizer.zero_grad()
        (late.sum() * free * 0.5).sum().backward()
        optimizer.step()
    (alone.sum() * 7).backward()
    fresh.step()
    np.testing.assert_allclose(late.numpy(), alone.numpy(), rtol=1e-5)
