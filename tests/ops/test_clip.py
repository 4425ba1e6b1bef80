"""Limits on one or both sides, of floats and of integers."""

from __future__ import annotations

import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor


def test_clip_limits_one_or_both_sides():
    x = tensor([-2.0, -1.0, 0.5, 2.0], requires_grad=True)
    assert F.clip(x, 0.0).tolist() == [0.0, 0.0, 0.5, 2.0]
    assert F.clip(x, None, 1.0).tolist() == [-2.0, -1.0, 0.5, 1.0]
    y = F.clip(x, -1.0, 1.0)
    y.sum().backward()
    assert y.tolist() == [-1.0, -1.0, 0.5, 1.0]
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="clip: expected at least one limit"):
        F.clip(x)


def test_clip_of_integers():
    x = tensor([0, 3, 200], dtype="u8")
    assert F.clip(x, -5, 100).tolist() == [0, 3, 100]
    assert F.clip(x, 2, 1000).tolist() == [2, 3, 200]
    assert F.clip(x, 1).dtype.tag == "u8"
    half = F.clip(x, 0.5, 100)
    assert half.dtype.tag == "f32" and half.tolist() == [0.5, 3.0, 100.0]


def test_truth_values_have_no_limits():
    with pytest.raises(TypeError, match=r"clip: expected numbers, got bool\[1\]@cpu"):
        F.clip(tensor([True]), 0, 1)


def test_limits_may_be_tensors_that_broadcast():
    x = tensor([[-2.0, 0.5, 3.0], [1.0, 9.0, -1.0]], requires_grad=True)
    low = tensor([-1.0, 1.0, 0.0], requires_grad=True)
    high = tensor([[2.0], [1.0]], requires_grad=True)
    y = F.clip(x, low, high)
    assert y.tolist() == [[-1.0, 1.0, 2.0], [1.0, 1.0, 0.0]]
    y.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]  # 1 at a limit, as for numbers
    assert low.grad.tolist() == [1.0, 1.0, 1.0] and high.grad.tolist() == [[1.0], [1.0]]
    assert F.clip(x, low).tolist() == [[-1.0, 1.0, 3.0], [1.0, 9.0, 0.0]]
    assert F.clip(x, 0.0, high).tolist() == [[0.0, 0.5, 2.0], [1.0, 1.0, 0.0]]
    assert F.clip(tensor([1, 5, 9]), tensor([2, 2, 2]), tensor([4, 8, 8])).tolist() == [2, 5, 8]


def test_nan_in_limits_stays_and_the_upper_limit_wins():
    y = F.clip(tensor([1.0, 2.0, float("nan")]), tensor([float("nan"), 5.0, 0.0]), 3.0).tolist()
    assert y[0] != y[0] and y[1] == 3.0 and y[2] != y[2]
