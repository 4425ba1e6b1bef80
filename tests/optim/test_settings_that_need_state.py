"""A setting changed after the first steps may need a kind of state that is not there yet: it begins at nothing."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import optim

GRADIENTS = [0.5, -1.0, 2.0, 0.25, 1.5]
CASES = {
    "momentum": (lambda p: optim.SGD(p, lr=0.1), {"momentum": 0.9}),
    "dampening": (lambda p: optim.SGD(p, lr=0.1), {"momentum": 0.9, "dampening": 0.5}),
    "nesterov": (lambda p: optim.SGD([{"params": p}], lr=0.1), {"momentum": 0.5, "nesterov": True}),
    "amsgrad": (lambda p: optim.AdamW(p, lr=0.1), {"amsgrad": True}),
}


def _steps(optimizer, parameters, gradients, traced):
    def step(gradient):
        for parameter in parameters:
            parameter.grad = gradient * 1.0
        optimizer.step()

    step = dt.trace(step) if traced else step
    for gradient in gradients:
        step(dt.tensor([gradient], dtype=dt.float64))
    return step


def _expected(what):
    """One parameter by hand."""
    x, buffer, m, v, largest = 1.0, 0.0, 0.0, 0.0, 0.0
    for t, g in enumerate(GRADIENTS, 1):
        later = t > 2
        if what == "amsgrad":
            x -= 0.1 * 0.01 * x
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            largest = max(largest, v) if later else 0.0
            size = np.sqrt((largest if later else v) / (1 - 0.999**t)) + 1e-8
            x -= 0.1 * (m / (1 - 0.9**t)) / size
            continue
        momentum, dampening = (0.5 if what == "nesterov" else 0.9) * later, 0.5 * (what == "dampening" and t > 3)
        buffer = momentum * buffer + (1 - dampening) * g if later else 0.0
        direction = (g + momentum * buffer if what == "nesterov" else buffer) if later else g
        x -= 0.1 * direction
    return x


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("what", CASES)
def test_state_that_a_changed_setting_needs(what, traced):
    make, settings = CASES[what]
    parameters = [dt.Parameter(dt.ones(1, dtype=dt.float64)) for _ in range(2)]
    optimizer = make(parameters)
    _steps(optimizer, parameters, GRADIENTS[:2], traced)
    for name, value in settings.items():
        optimizer.param_groups[0][name] = value
    _steps(optimizer, parameters, GRADIENTS[2:4], traced)
    # Saved, and loaded by an optimizer that was made as the first one was.
    others = [dt.Parameter(parameter.numpy().copy()) for parameter in parameters]
    resumed = make(others)
    resumed.load_state_dict(optimizer.state_dict())
    for one, its in ((optimizer, parameters), (resumed, others)):
        _steps(one, its, GRADIENTS[4:], traced)
        for parameter in its:
            assert parameter.item() == pytest.approx(_expected(what), rel=1e-12)
