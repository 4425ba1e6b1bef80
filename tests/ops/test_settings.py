"""Settings of functions that would make numbers without meaning are refused where they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError

X = np.arange(24.0).reshape(2, 3, 4)
EPS: dict[str, Callable[[Any, float], Any]] = {
    "layer_norm": lambda x, eps: F.layer_norm(x, 4, eps=eps),
    "rms_norm": lambda x, eps: F.rms_norm(x, 4, eps=eps),
    "group_norm": lambda x, eps: F.group_norm(x, 3, eps=eps),
    "instance_norm": lambda x, eps: F.instance_norm(x, eps=eps),
    "batch_norm": lambda x, eps: F.batch_norm(x, None, None, training=True, eps=eps),
    "batch_norm, evaluating": lambda x, eps: F.batch_norm(x, F.zeros(3), F.ones(3), eps=eps),
    "SyncBatchNorm": lambda x, eps: nn.SyncBatchNorm(3, eps=eps)(x),
}


@pytest.mark.parametrize("name", EPS)
@pytest.mark.parametrize("eps", [-1.0, float("nan")])
def test_eps_below_0_is_refused(name: str, eps: float):
    with pytest.raises(ValueError, match=f"_norm: expected eps .*, got {eps}"):
        EPS[name](dt.tensor(X), eps)


def test_eps_of_0_divides_by_the_deviation_itself_but_for_batch_norm():
    y = F.layer_norm(dt.tensor(X), 4, eps=0).numpy()
    np.testing.assert_allclose(y, (X - X.mean(-1, keepdims=True)) / X.std(-1, keepdims=True))
    with pytest.raises(ValueError, match=r"batch_norm: expected eps above 0, got 0\.0"):
        nn.BatchNorm1d(3, eps=0.0)(dt.tensor(X))


IMAGES = np.ones((2, 0, 4, 4))
POOLS: dict[str, Callable[[Any], Any]] = {
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "max_pool1d": lambda x: F.max_pool1d(x[:, :, 0], 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "avg_pool1d": lambda x: F.avg_pool1d(x[:, :, 0], 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 2),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 2),
}


@pytest.mark.parametrize("name", POOLS)
def test_images_without_channels_are_no_images(name: str):
    with pytest.raises(ShapeError, match=r"pool[12]d: expected at least one channel, got "):
        POOLS[name](dt.tensor(IMAGES))
    assert POOLS[name](dt.tensor(np.ones((0, 3, 4, 4)))).shape[-1] == 2


def test_tolerances_and_margins_below_0():
    x = dt.tensor([1.0])
    for tolerance in ({"rtol": -0.1}, {"atol": -0.1}, {"atol": float("nan")}):
        for function in (F.isclose, F.allclose):
            with pytest.raises(ValueError, match="isclose: expected tolerances of at least 0, got rtol"):
                function(x, x, **tolerance)
    for margin in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"triplet_margin_loss: expected a margin above 0, got {margin}"):
            F.triplet_margin_loss(x, x, x, margin=margin)


def test_crossed_limits_of_hardtanh():
    with pytest.raises(ValueError, match=r"hardtanh: expected min_val no larger than max_val, got 1 and -1; swap them"):
        nn.Hardtanh(1, -1)(dt.tensor([0.0]))


def test_masked_fill_takes_one_number():
    x, mask = dt.tensor([1.0, 2.0]), dt.tensor([True, False])
    assert x.masked_fill(mask, dt.tensor(7)).tolist() == [7, 2]
    with pytest.raises(ShapeError, match=r"masked_fill: expected one number as value, got f32\[3,1\]@cpu beside"):
        x.masked_fill(mask, F.ones((3, 1)))


def test_a_mean_is_no_integer():
    with pytest.raises(TypeError, match="mean: expected a floating dtype, got s64; cast the mean"):
        F.mean(dt.tensor([1.5, 2.5]), dtype="s64")


def test_ignore_index_beside_probabilities():
    logits, probabilities = dt.tensor([[1.0, 2.0]]), dt.tensor([[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"cross_entropy: expected class numbers beside ignore_index, got f32\[1,2\]"):
        F.cross_entropy(logits, probabilities, ignore_index=1)
    usual = F.cross_entropy(logits, probabilities)
    assert F.cross_entropy(logits, probabilities, ignore_index=-100).item() == usual.item()
