"""Pooling layers."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("layer", "x", "wanted"),
    [
        (nn.MaxPool2d(2), X, [[[[5, 7], [13, 15]]]]),
        (nn.MaxPool2d(3, 2, 1), X, [[[[5, 7], [13, 15]]]]),
        (nn.AvgPool2d(2), X, [[[[2.5, 4.5], [10.5, 12.5]]]]),
        (nn.AvgPool2d(2, 4, 1, count_include_pad=False), X, [[[[0, 3], [12, 15]]]]),
        (nn.AdaptiveAvgPool2d(1), X, [[[[7.5]]]]),
        (nn.AdaptiveMaxPool2d((1, 2)), X, [[[[13, 15]]]]),
        (nn.MaxPool1d(2), X[0], [[[1, 3], [5, 7], [9, 11], [13, 15]]]),
        (nn.AvgPool1d(4), X[0], [[[1.5], [5.5], [9.5], [13.5]]]),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_values(layer, x, wanted):
    assert layer(dt.tensor(x)).tolist() == wanted
