"""Dropout: modes, share, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.core.random import seed


def test_training_drops_and_scales():
    seed(0)
    y = nn.Dropout(0.25)(dt.ones((10_000,))).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)} and y.mean() == pytest.approx(1, abs=0.02)


def test_evaluation_passes_on():
    x = dt.ones((3,))
    assert nn.Dropout(0.9).eval()(x) is x


def test_each_call_draws_anew_eager_and_traced_alike():
    layer = nn.Dropout(0.5)

    def draws(function):
        seed(3)
        return [function(dt.ones((64,))).tolist() for _ in range(3)]

    eager, traced = draws(layer), draws(dt.trace(lambda x: layer(x)))
    assert eager == traced and eager[0] != eager[1] != eager[2]


def test_probabilities_are_checked():
    with pytest.raises(ValueError, match=r"p in \[0, 1\], got 2"):
        nn.Dropout(2)
