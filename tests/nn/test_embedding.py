"""Embedding tables."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn


def test_rows_by_number_and_their_gradients():
    layer = nn.Embedding(5, 3)
    indices = dt.tensor([[1, 4], [1, 0]])
    rows = layer(indices)
    np.testing.assert_array_equal(rows.numpy(), layer.weight.numpy()[indices.numpy()])
    rows.sum().backward()
    assert layer.weight.grad.numpy()[:, 0].tolist() == [1, 2, 0, 0, 1]


def test_the_padding_row_is_zero_and_stays():
    layer = nn.Embedding(4, 2, padding_idx=2)
    assert layer.weight.numpy()[2].tolist() == [0, 0]
    layer(dt.tensor([2, 3])).sum().backward()
    assert layer.weight.grad.numpy().tolist() == [[0, 0], [0, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize("padding_idx", [4, -5, 1.5])
def test_a_padding_row_that_is_none_is_refused(padding_idx):
    with pytest.raises((ValueError, TypeError), match="padding_idx"):
        nn.Embedding(4, 2, padding_idx=padding_idx)
