"""Initialization: bounds, moments, repeatability."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dtrain as dt
from dtrain.core.random import Generator, seed
from dtrain.nn import init

SHAPE = (64, 32, 3, 3)
FAN_IN, FAN_OUT = 32 * 9, 64 * 9


def test_fans():
    assert init.fan_in_and_fan_out(dt.zeros(SHAPE)) == (FAN_IN, FAN_OUT)
    with pytest.raises(ValueError, match="a weight of at least 2 axes"):
        init.fan_in_and_fan_out(dt.zeros((3,)))


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda t: init.uniform_(t, -1, 1), 1 / math.sqrt(3)),
        (lambda t: init.normal_(t, 0, 0.5), 0.5),
        (init.xavier_uniform_, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.xavier_normal_, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), 1 / math.sqrt(3 * FAN_IN)),
        (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / FAN_OUT)),
    ],
)
@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_spread(fill, std, dtype):
    seed(1)
    tensor = dt.zeros(SHAPE, dtype=dtype)
    assert fill(tensor) is tensor and tensor.dtype.tag == dtype
    values = tensor.numpy().astype(np.float64)
    assert values.std() == pytest.approx(std, rel=0.02) and abs(values.mean()) < 0.05 * std


def test_constants():
    tensor = dt.Parameter(dt.zeros((2,)))
    assert init.constant_(tensor, 2.5).tolist() == [2.5, 2.5] and tensor.is_leaf
    assert init.ones_(tensor).tolist() == [1, 1] and init.zeros_(tensor).tolist() == [0, 0]


def test_a_generator_decides():
    first, second = (init.normal_(dt.zeros((4,)), generator=Generator(3)).tolist() for _ in range(2))
    assert first == second != init.normal_(dt.zeros((4,)), generator=Generator(4)).tolist()


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2) and init.calculate_gain("leaky_relu", 0) == math.sqrt(2)
    with pytest.raises(ValueError, match="one of leaky_relu, linear"):
        init.calculate_gain("step")
    with pytest.raises(ValueError, match="mode fan_in or fan_out, got 'both'"):
        init.kaiming_normal_(dt.zeros((2, 2)), mode="both")
