"""Adam and AdamW against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.update_formulas import adam

import dtrain as dt
from dtrain.optim.adam import Adam, AdamW

OPTIONS = [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"maximize": True}, {"amsgrad": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 2e-6), ("f64", 1e-13)])
def test_steps_follow_the_formula(options, decoupled, dtype, tolerance):
    random = np.random.default_rng(0)
    start, grads = random.standard_normal(17), random.standard_normal((5, 17)) * [[3], [1], [0.1], [0.1], [0.1]]
    weight = dt.Parameter(dt.tensor(start, dtype=dtype))
    options = {"weight_decay": 0.0, **options}
    optimizer = (AdamW if decoupled else Adam)([weight], 0.01, **options)
    for grad in grads:
        weight.grad = dt.tensor(grad, dtype=dtype)
        optimizer.step()
    wanted = [adam(*pair, lr=0.01, decoupled=decoupled, **options) for pair in zip(start, grads.T)]
    np.testing.assert_allclose(weight.numpy(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"betas": (1.0, 0.9)}, r"two betas in \[0, 1\)"), ({"eps": -1.0}, "eps of at least 0"),
     ({"weight_decay": -1.0}, "weight_decay of at least 0")],
)  # fmt: skip
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Adam([dt.Parameter([1.0])], **options)


def test_amsgrad_keeps_its_largest_average_when_saved_and_traced():
    weight = dt.Parameter([1.0, 2.0])
    optimizer = Adam([weight], 0.1, amsgrad=True)

    @dt.trace
    def step(gradient):
        weight.grad = gradient
        optimizer.step()

    for size in (3.0, 0.1, 0.1):
        step(dt.tensor([size, -size]))
    expected = [adam(start, [s * 3.0, s * 0.1, s * 0.1], lr=0.1, amsgrad=True) for start, s in ((1.0, 1), (2.0, -1))]
    np.testing.assert_allclose(weight.tolist(), expected, rtol=1e-5)
    saved = optimizer.state_dict()
    assert set(saved["state"]["0"]) == {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"}
    resumed = Adam([weight], 0.1, amsgrad=True)
    resumed.load_state_dict(saved)
    assert resumed.state[weight]["max_exp_avg_sq"].tolist() == optimizer.state[weight]["max_exp_avg_sq"].tolist()
