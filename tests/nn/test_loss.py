"""Loss modules against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn

RANDOM = np.random.default_rng(0)
A, B = RANDOM.uniform(0.1, 0.9, (4, 5)), RANDOM.uniform(0.1, 0.9, (4, 5))
LABELS = np.array([0, 4, 2, 2])
LOG = A - np.log(np.exp(A).sum(1, keepdims=True))
PICKED = -LOG[np.arange(4), LABELS]
SMALL = np.abs(A - B)

CASES = [
    (nn.MSELoss, {}, A, B, (A - B) ** 2),
    (nn.L1Loss, {}, A, B, SMALL),
    (nn.SmoothL1Loss, {"beta": 0.3}, A, B, np.where(SMALL < 0.3, SMALL**2 / 0.6, SMALL - 0.15)),
    (nn.BCELoss, {}, A, B, -B * np.log(A) - (1 - B) * np.log(1 - A)),
    (nn.BCEWithLogitsLoss, {}, A, B, np.log1p(np.exp(A)) - A * B),
    (nn.CrossEntropyLoss, {}, A, LABELS, PICKED),
    (nn.CrossEntropyLoss, {"label_smoothing": 0.2}, A, LABELS, 0.8 * PICKED - 0.2 * LOG.mean(1)),
    (nn.NLLLoss, {}, LOG, LABELS, PICKED),
]


@pytest.mark.parametrize(
    ("loss", "options", "prediction", "target", "wanted"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_values(loss, options, prediction, target, wanted):
    prediction, target = dt.tensor(prediction), dt.tensor(target)
    for reduction, value in (("mean", wanted.mean()), ("sum", wanted.sum()), ("none", wanted)):
        result = loss(**options, reduction=reduction)(prediction, target)
        np.testing.assert_allclose(result.numpy(), value, rtol=1e-10)


def test_ignored_targets_count_for_nothing():
    labels = LABELS.copy()
    labels[1] = -100
    result = nn.CrossEntropyLoss(ignore_index=-100)(dt.tensor(A), dt.tensor(labels))
    assert result.item() == pytest.approx(PICKED[[0, 2, 3]].mean(), rel=1e-10)


WEIGHT = np.array([0.5, 2.0, 1.0], np.float32)


@pytest.mark.parametrize(
    ("make", "function", "options"),
    [
        (nn.CrossEntropyLoss, F.cross_entropy, {"ignore_index": 1, "label_smoothing": 0.1}),
        (nn.NLLLoss, F.nll_loss, {"ignore_index": 1}),
    ],
)
def test_weights_of_classes_are_buffers(make, function, options):
    scores, labels = dt.tensor(RANDOM.normal(size=(4, 3)), dtype="f32"), dt.tensor([0, 2, 1, 2])
    loss = make(dt.tensor(WEIGHT), **options)
    assert loss(scores, labels).item() == function(scores, labels, weight=dt.tensor(WEIGHT), **options).item()
    assert list(loss.state_dict()) == ["weight"] and list(make().state_dict()) == []


@pytest.mark.parametrize("make", [nn.BCELoss, nn.BCEWithLogitsLoss])
def test_weights_of_elements_are_buffers(make):
    function = {nn.BCELoss: F.binary_cross_entropy, nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits}[make]
    p, t = dt.tensor(RANDOM.uniform(size=(4, 3)), dtype="f32"), dt.tensor(RANDOM.uniform(size=(4, 3)), dtype="f32")
    loss = make(dt.tensor(WEIGHT))
    assert loss(p, t).item() == function(p, t, weight=dt.tensor(WEIGHT)).item()
    if make is nn.BCEWithLogitsLoss:
        weighted = make(pos_weight=dt.tensor(WEIGHT))
        assert weighted(p, t).item() == function(p, t, pos_weight=dt.tensor(WEIGHT)).item()
        assert list(weighted.state_dict()) == ["pos_weight"]
