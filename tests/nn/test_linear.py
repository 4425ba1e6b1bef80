"""Linear, Identity, Flatten."""

from __future__ import annotations

import numpy as np

import dtrain as dt
from dtrain import nn
from dtrain.core.random import seed


def test_linear_is_a_product_and_a_sum():
    seed(0)
    layer = nn.Linear(3, 2)
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_allclose(layer(dt.tensor(x)).numpy(), x @ layer.weight.numpy().T + layer.bias.numpy(), rtol=1e-5)
    assert layer.weight.shape == (2, 3) and repr(layer) == "Linear(3, 2, bias=True)"


def test_linear_begins_uniform_within_its_fan():
    seed(0)
    layer = nn.Linear(100, 400)
    for parameter in (layer.weight, layer.bias):
        values = parameter.numpy()
        assert np.abs(values).max() <= 0.1 and np.abs(values).max() > 0.09


def test_a_seed_repeats_parameters():
    layers = []
    for _ in range(2):
        seed(7)
        layers.append(nn.Linear(4, 4).weight.tolist())
    assert layers[0] == layers[1]


def test_without_bias():
    layer = nn.Linear(3, 2, bias=False)
    assert layer.bias is None and list(layer.state_dict()) == ["weight"]


def test_identity_and_flatten():
    x = dt.zeros((2, 3, 4))
    assert nn.Identity()(x) is x
    assert nn.Flatten()(x).shape == (2, 12) and nn.Flatten(0, 1)(x).shape == (6, 4)
    assert nn.Flatten()(dt.zeros((0, 3, 4))).shape == (0, 12)
