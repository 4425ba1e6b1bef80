"""Gradient clipping, eager and traced."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dtrain as dt
from dtrain.optim.clipping import clip_grad_norm_, clip_grad_value_

GRADS = [np.array([3.0, -4.0], np.float32), np.array([[12.0]], np.float32)]


def parameters():
    made = [dt.Parameter(np.zeros_like(grad)) for grad in GRADS]
    for parameter, grad in zip(made, GRADS):
        parameter.grad = dt.tensor(grad)
    return [*made, dt.Parameter([1.0])]  # the last has no gradient


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, math.inf])
def test_the_norm_of_all_gradients_is_limited(order):
    params = parameters()
    whole = np.concatenate([grad.ravel() for grad in GRADS])
    wanted = np.linalg.norm(whole, order)
    assert clip_grad_norm_(params, 2.0, order).item() == pytest.approx(wanted, rel=1e-6)
    clipped = np.concatenate([parameter.grad.numpy().ravel() for parameter in params[:2]])
    np.testing.assert_allclose(clipped, whole * 2 / wanted, rtol=1e-5)
    assert params[2].grad is None


def test_small_gradients_stay():
    params = parameters()
    assert clip_grad_norm_(params, 14.0).item() == 13
    assert params[0].grad.tolist() == [3, -4]


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f64"])
def test_gradients_keep_their_dtype(dtype):
    parameter = dt.Parameter(dt.zeros((2,), dtype=dtype))
    parameter.grad = dt.tensor([300.0, 400.0], dtype=dtype)  # whose squares overflow f16
    total = clip_grad_norm_(parameter, 1.0)
    assert total.item() == pytest.approx(500, rel=1e-2) and total.dtype.tag == ("f64" if dtype == "f64" else "f32")
    assert parameter.grad.dtype.tag == dtype
    np.testing.assert_allclose(parameter.grad.to("f64").numpy(), [0.6, 0.8], rtol=1e-2)


def test_nothing_to_clip():
    assert clip_grad_norm_([dt.Parameter([1.0])], 1.0).item() == 0


def test_values_are_limited():
    params = parameters()
    clip_grad_value_(params, 3.5)
    assert params[0].grad.tolist() == [3, -3.5] and params[1].grad.tolist() == [[3.5]]


def test_clipping_is_part_of_a_traced_step():
    def run(traced):
        weight = dt.Parameter(np.array([1.0, 2.0], np.float32))

        def step(x):
            weight.grad = None
            (weight * x).sum().backward()
            return clip_grad_norm_([weight], 1.0), weight.grad

        function = dt.trace(step) if traced else step
        return [[value.tolist() for value in function(dt.tensor([3.0, 4.0 * scale]))] for scale in (1.0, 0.1)]

    assert run(True) == run(False)


def test_bad_limits():
    with pytest.raises(ValueError, match="max_norm of at least 0, got -1"):
        clip_grad_norm_([], -1)
    with pytest.raises(ValueError, match="norm_type above 0, got 0"):
        clip_grad_norm_([], 1, 0)
    with pytest.raises(ValueError, match="clip_value of at least 0"):
        clip_grad_value_([], float("nan"))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("order", [2.0, 3.0, math.inf])
def test_a_norm_that_is_not_finite_is_refused(bad, order):
    params = parameters()
    params[0].grad = dt.tensor([1.0, bad])
    with pytest.raises(RuntimeError, match=r"clip_grad_norm_: expected a finite norm of the gradients, got (inf|nan)"):
        clip_grad_norm_(params, 2.0, order, error_if_nonfinite=True)
    assert params[1].grad.tolist() == [[12.0]]  # nothing was clipped
    total = clip_grad_norm_(params, 2.0, order)
    assert not math.isfinite(total.item())


def test_a_norm_that_is_not_finite_is_refused_when_a_graph_runs():
    weight = dt.Parameter([1.0, 1.0])

    @dt.trace
    def step(x):
        weight.grad = None
        (weight * x).sum().backward()
        clip_grad_norm_([weight], 1.0, error_if_nonfinite=True)
        return weight.grad + 0

    assert step(dt.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8], rel=1e-5)
    with pytest.raises(RuntimeError, match="expected a finite norm"):
        step(dt.tensor([3.0, math.inf]))


def test_a_small_scale_keeps_its_digits_in_short_floats():
    weight = dt.Parameter(dt.tensor([0.0, 0.0], dtype="f16"))
    weight.grad = dt.tensor([60000.0, 30000.0], dtype="f16")
    clip_grad_norm_([weight], 0.01)
    np.testing.assert_allclose(weight.grad.tolist(), [0.00894427, 0.00447214], rtol=1e-3)
