"""Dropout: how much it drops, that the expectation stays, its gradient, eval mode, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.random import Generator
from dtrain.core.tensor_factory import tensor


@pytest.mark.parametrize("tag", ["f16", "bf16", "f32", "f64"])
def test_a_share_p_is_dropped_and_the_rest_is_scaled(tag):
    y = F.dropout(F.ones(20000, dtype=tag), 0.25, generator=Generator(1)).numpy().astype(np.float64)
    kept = y[y != 0]
    assert abs(len(kept) / 20000 - 0.75) < 0.01
    np.testing.assert_allclose(kept, 1 / 0.75, rtol=2**-7)


def test_the_gradient_passes_where_the_value_did():
    x = tensor(np.full(100, 3.0), requires_grad=True)
    y = F.dropout(x, 0.5, generator=Generator(1))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy() * 3.0, y.numpy())


def test_it_leaves_the_input_alone_outside_training_and_at_p_0():
    x = tensor([1.0, 2.0])
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).tolist() == [0.0, 0.0]


def test_two_calls_drop_different_elements():
    generator = Generator(1)
    first, second = (F.dropout(F.ones(64), generator=generator).numpy() for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_share_outside_0_to_1():
    with pytest.raises(ValueError, match=r"dropout: expected p in \[0, 1\], got -0.1"):
        F.dropout(tensor([1.0]), -0.1)
