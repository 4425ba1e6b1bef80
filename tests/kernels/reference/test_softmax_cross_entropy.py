"""The cross entropy references against the formula in Python numbers, and against numeric gradients."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from dtrain.kernels.reference import softmax_cross_entropy as module


def run(logits, targets, smoothing):
    losses, probabilities = np.empty(len(logits)), np.empty(logits.shape)
    module.softmax_cross_entropy(logits, targets, (losses, probabilities), label_smoothing=smoothing)
    return losses, probabilities


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_formula(smoothing) -> None:
    logits = np.random.default_rng(0).standard_normal((3, 5))
    targets = np.array([4, 0, 2])
    losses, probabilities = run(logits, targets, smoothing)
    for row, target, loss, given in zip(logits.tolist(), targets, losses, probabilities):
        total = sum(exp(z) for z in row)
        wanted = [(1 - smoothing) * (c == target) + smoothing / 5 for c in range(5)]
        assert loss == pytest.approx(-sum(q * log(exp(z) / total) for q, z in zip(wanted, row)))
        assert given.tolist() == pytest.approx([exp(z) / total for z in row])


def test_large_logits_do_not_overflow() -> None:
    losses, probabilities = run(np.array([[1000.0, 0.0]]), np.array([1]), 0.0)
    assert losses.tolist() == [1000.0]
    assert probabilities.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_backward_is_the_gradient(smoothing) -> None:
    rng = np.random.default_rng(1)
    logits, targets, grad = rng.standard_normal((3, 4)), np.array([1, 3, 3], np.int32), rng.standard_normal(3)
    _, probabilities = run(logits, targets, smoothing)
    dlogits = np.empty_like(logits)
    module.softmax_cross_entropy_backward(grad, probabilities, targets, dlogits, label_smoothing=smoothing)
    for at in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[at] = 1e-5
        numeric = (
            grad * (run(logits + step, targets, smoothing)[0] - run(logits - step, targets, smoothing)[0])
        ).sum() / 2e-5
        assert dlogits[at] == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("bad", [-1, 3])
def test_targets_out_of_range(bad) -> None:
    with pytest.raises(ValueError, match=rf"softmax_cross_entropy: expected targets from 0 to 2, got {bad}"):
        run(np.zeros((2, 3)), np.array([0, bad]), 0.0)
