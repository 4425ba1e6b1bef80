"""Gradient descent against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.update_formulas import sgd

import dtrain as dt
from dtrain.optim.sgd import SGD

OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.5},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"maximize": True, "momentum": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 1e-6), ("f64", 1e-14)])
@pytest.mark.parametrize("shape", [(1,), (17,), (3, 5)])
def test_steps_follow_the_formula(options, dtype, tolerance, shape):
    random = np.random.default_rng(0)
    start, grads = random.standard_normal(shape), random.standard_normal((4, *shape))
    weight = dt.Parameter(dt.tensor(start, dtype=dtype))
    optimizer = SGD([weight], 0.1, **options)
    for grad in grads:
        weight.grad = dt.tensor(grad, dtype=dtype)
        optimizer.step()
    columns = zip(start.ravel(), grads.reshape(4, -1).T)
    wanted = np.reshape([sgd(value, column, lr=0.1, **options) for value, column in columns], shape)
    np.testing.assert_allclose(weight.numpy(), wanted, rtol=tolerance, atol=tolerance)


def test_nesterov_wants_momentum_without_dampening():
    weight = dt.Parameter([1.0])
    for options in ({}, {"momentum": 0.9, "dampening": 0.1}):
        with pytest.raises(ValueError, match="momentum above 0 and dampening 0 with nesterov"):
            SGD([weight], 0.1, nesterov=True, **options)
    with pytest.raises(ValueError, match="momentum of at least 0, got -1"):
        SGD([weight], 0.1, momentum=-1)


def test_momentum_may_be_switched_off():
    weight = dt.Parameter([1.0])
    optimizer = SGD([weight], 0.5, momentum=0.9)
    optimizer.param_groups[0]["momentum"] = 0.0
    weight.grad = dt.tensor([1.0])
    optimizer.step()
    assert weight.item() == 0.5


def test_the_first_step_of_each_parameter_is_not_dampened():
    """Also of one whose first gradient comes later, in a traced step, and not again after loading."""
    first, late = dt.Parameter([0.0]), dt.Parameter([0.0])
    optimizer = SGD([first, late], 1.0, momentum=0.5, dampening=0.5)

    @dt.trace
    def step(x, both):
        first.grad = x
        late.grad = x if both else None
        optimizer.step()

    one = dt.tensor([1.0])
    step(one, False)
    assert (first.item(), late.item()) == (-1.0, 0.0)  # b = 1
    step(one, True)
    assert (first.item(), late.item()) == (-2.0, -1.0)  # b = 0.5 + 0.5, and again 1
    saved = optimizer.state_dict()
    resumed = SGD([first, late], 1.0, momentum=0.5, dampening=0.5)
    resumed.load_state_dict(saved)
    first.grad = late.grad = one * 0
    resumed.step()
    assert (first.item(), late.item()) == (-2.5, -1.5)
