"""Convolution layers: shapes, parameters, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn


@pytest.mark.parametrize(
    ("layer", "shape", "weight", "result"),
    [
        (nn.Conv2d(4, 6, 3), (2, 4, 8, 9), (6, 4, 3, 3), (2, 6, 6, 7)),
        (nn.Conv2d(4, 6, (1, 3), 2, (0, 1), groups=2), (2, 4, 8, 9), (6, 2, 1, 3), (2, 6, 4, 5)),
        (nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=4), (1, 4, 5, 5), (4, 1, 3, 3), (1, 4, 5, 5)),
        (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9), (6, 4, 3), (2, 6, 5)),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), (2, 4, 5, 5), (4, 6, 3, 3), (2, 6, 10, 10)),
        (nn.ConvTranspose2d(4, 6, 2, 2, groups=2), (2, 4, 5, 5), (4, 3, 2, 2), (2, 6, 10, 10)),
    ],
    ids=repr,
)
def test_shapes(layer, shape, weight, result):
    assert layer.weight.shape == weight and layer.bias.shape == result[1:2]
    assert layer(dt.zeros(shape)).shape == result
    assert layer(dt.zeros((0, *shape[1:]))).shape == (0, *result[1:])


def test_it_is_the_function_with_its_parameters():
    layer = nn.Conv2d(2, 3, 3, 2, 1, bias=False)
    x = dt.tensor(np.random.default_rng(0).standard_normal((1, 2, 5, 5)), dtype="f32")
    np.testing.assert_array_equal(layer(x).numpy(), F.conv2d(x, layer.weight, None, 2, 1).numpy())
    assert list(layer.state_dict()) == ["weight"]


def test_weights_begin_uniform_within_their_fan():
    values = np.abs(nn.Conv2d(16, 32, 3).weight.numpy())
    assert 0.95 / 12 < values.max() <= 1 / 12


@pytest.mark.parametrize("groups", [0, 3])
def test_groups_must_divide_the_channels(groups):
    with pytest.raises(ValueError, match=rf"Conv2d: .*got 4 and 6 channels in {groups} groups"):
        nn.Conv2d(4, 6, 1, groups=groups)


def test_repr():
    text = "Conv2d(1, 2, kernel_size=(3, 3), stride=1, padding=1, dilation=1, groups=1, bias=False)"
    assert repr(nn.Conv2d(1, 2, 3, padding=1, bias=False)) == text
