"""The optimizer references against the formulas in Python numbers, over several steps."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from dtrain.kernels.reference import optimizer

GRADS = (0.5, -1.0, 2.0)
LR = np.array(0.1)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    "momentum, dampening, decay", [(0.0, 0.0, 0.0), (0.0, 0.0, 0.3), (0.9, 0.0, 0.0), (0.9, 0.25, 0.3)]
)
def test_sgd(momentum, dampening, decay, nesterov) -> None:
    attrs = {
        "num_tensors": 1,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": decay,
        "nesterov": nesterov,
    }
    param, buffer = np.array([1.5]), np.array([0.0])
    p, b = 1.5, 0.0
    for grad in GRADS:
        state = [buffer] if momentum else []
        out = param if not momentum else (param, buffer)
        optimizer.sgd_update(LR, param, np.array([grad]), *state, out=out, **attrs)
        g = grad + decay * p
        if momentum:
            b = momentum * b + (1 - dampening) * g
            g = g + momentum * b if nesterov else b
        p -= 0.1 * g
        assert param.item() == pytest.approx(p, rel=1e-14)
        assert buffer.item() == pytest.approx(b, rel=1e-14)


@pytest.mark.parametrize("decay, decoupled", [(0.0, False), (0.3, False), (0.3, True)])
def test_adam(decay, decoupled) -> None:
    attrs = {"num_tensors": 1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3, "weight_decay": decay, "decoupled": decoupled}
    step, param, average, square = np.array(0, np.int64), np.array([1.5]), np.array([0.0]), np.array([0.0])
    p, m, v = 1.5, 0.0, 0.0
    for t, grad in enumerate(GRADS, start=1):
        out = (step, param, average, square)
        optimizer.adam_update(LR, step, param, np.array([grad]), average, square, out=out, **attrs)
        g = grad if decoupled else grad + decay * p
        if decoupled:
            p *= 1 - 0.1 * decay
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        p -= 0.1 * (m / (1 - 0.9**t)) / (sqrt(v / (1 - 0.99**t)) + 1e-3)
        assert step.item() == t
        assert param.item() == pytest.approx(p, rel=1e-12)
        assert (average.item(), square.item()) == pytest.approx((m, v), rel=1e-12)


def test_tensors_do_not_mix() -> None:
    """Groups are all parameters, then all gradients."""
    params = [np.full(2, 1.0), np.full(3, 2.0)]
    grads = [np.full(2, 10.0), np.full(3, 20.0)]
    out = tuple(np.empty_like(p) for p in params)
    attrs = {"num_tensors": 2, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    optimizer.sgd_update(LR, *params, *grads, out=out, **attrs)
    assert out[0].tolist() == [0.0, 0.0]
    assert out[1].tolist() == [0.0, 0.0, 0.0]
