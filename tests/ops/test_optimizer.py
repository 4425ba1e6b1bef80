"""The update ops: what they accept, and which inputs they overwrite."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.core.apply import apply_tuple, update
from dtrain.opset.optimizer import ADAM_UPDATE, SGD_UPDATE

SGD = {"num_tensors": 1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
ADAM = {"num_tensors": 1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
LR, STEP = dt.tensor(0.5), dt.tensor(0)


def ones(*shape: int, dtype: str = "f32") -> dt.Tensor:
    return dt.ones(shape, dtype=dtype)


def test_sgd_overwrites_parameters_and_buffers_but_not_gradients():
    param, grad, buffer = ones(3), ones(3), ones(3)
    results = update(SGD_UPDATE, LR, param, grad, buffer, **SGD)
    assert results[0] is param and results[1] is buffer
    assert grad.tolist() == [1, 1, 1]
    np.testing.assert_allclose(buffer.numpy(), 1.9, rtol=1e-6)
    np.testing.assert_allclose(param.numpy(), 1 - 0.5 * 1.9, rtol=1e-6)


def test_adam_overwrites_step_parameters_and_averages():
    step, param, average, square = dt.tensor(0), ones(2), dt.zeros((2,)), dt.zeros((2,))
    results = update(ADAM_UPDATE, LR, step, param, ones(2), average, square, **ADAM)
    for result, target in zip(results, (step, param, average, square)):
        assert result is target
    assert step.item() == 1
    np.testing.assert_allclose(param.numpy(), 0.5, rtol=1e-5)


def test_apply_leaves_its_inputs_alone():
    param = ones(3)
    new_param, _ = apply_tuple(SGD_UPDATE, LR, param, ones(3), ones(3), **SGD)
    assert param.tolist() == [1, 1, 1] and new_param.numpy()[0] != 1


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ((LR, ones(3), ones(3)), ShapeError, "3 groups of 1 tensors, got 2 tensors"),
        ((LR, ones(3), ones(4), ones(3)), ShapeError, r"like their parameter f32\[3\]@cpu, got f32\[4\]@cpu"),
        ((LR, ones(3), ones(3, dtype="f64"), ones(3)), DtypeError, r"floating tensors of one dtype \(f32\), got f64"),
        ((STEP, ones(3), ones(3), ones(3)), ShapeError, r"lr as a floating 0-d tensor, got s64\[\]"),
        ((ones(1), ones(3), ones(3), ones(3)), ShapeError, r"lr as a floating 0-d tensor, got f32\[1\]"),
    ],
)
def test_sgd_checks_its_inputs(inputs, error, message):
    with pytest.raises(error, match=f"sgd_update: expected .*{message}"):
        apply_tuple(SGD_UPDATE, *inputs, **SGD)


def test_adam_wants_an_integer_step():
    with pytest.raises(ShapeError, match=r"step as an s64 0-d tensor, got f32\[\]"):
        apply_tuple(ADAM_UPDATE, LR, LR, *[ones(2)] * 4, **ADAM)
