"""Accuracy against counting by hand, eagerly and traced."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.capture.trace import trace
from dtrain.core.tensor_factory import tensor

RANDOM = np.random.default_rng(3)
SCORES, TARGETS = RANDOM.normal(size=(50, 6)), RANDOM.integers(0, 6, 50)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_topk_accuracy_counts_hits(k):
    ranks = (SCORES[np.arange(50), TARGETS][:, None] < SCORES).sum(axis=1)
    wanted = np.float32((ranks < k).mean())
    got = F.topk_accuracy(tensor(SCORES), tensor(TARGETS), k)
    assert got.dtype.tag == "f32" and got.item() == wanted
    assert trace(lambda s, t: F.topk_accuracy(s, t, k))(tensor(SCORES), tensor(TARGETS)).item() == wanted


def test_accuracy_is_that_of_the_best_class():
    wanted = np.float32((SCORES.argmax(axis=1) == TARGETS).mean())
    assert F.accuracy(tensor(SCORES), tensor(TARGETS)).item() == wanted


def test_no_gradient_flows():
    scores = tensor(SCORES, requires_grad=True)
    assert not F.accuracy(scores, tensor(TARGETS)).requires_grad


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"topk_accuracy: expected scores \[N,C\], targets \[N\] and k from 1 to C"):
        F.topk_accuracy(tensor(SCORES), tensor(TARGETS), 7)
