"""A choice by a condition: broadcasting, promotion, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

CONDITION = np.array([[True], [False]])


def test_where_is_numpys():
    x, y = np.arange(3.0), np.array([[10.0, 20, 30], [40, 50, 60]])
    result = F.where(tensor(CONDITION), tensor(x), tensor(y))
    np.testing.assert_array_equal(result.numpy(), np.where(CONDITION, x, y))


def test_python_numbers_and_promotion():
    assert F.where(tensor(CONDITION), tensor([1.0], dtype="f16"), 0.0).dtype.tag == "f16"
    assert F.where(tensor(CONDITION), tensor([1], dtype="s32"), tensor([1.0])).dtype.tag == "f32"
    assert F.where(tensor([True, False]), 1, 2).tolist() == [1, 2]


def test_each_side_gets_the_gradient_where_it_was_taken():
    x, y = tensor([1.0, 2.0, 3.0], requires_grad=True), tensor(5.0, requires_grad=True)
    F.where(tensor([True, False, True]), x, y).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 1.0] and y.grad.item() == 1.0


def test_a_nan_in_the_other_branch_does_not_show():
    x = tensor([np.nan, 1.0], requires_grad=True)
    y = F.where(tensor([False, True]), x, 0.0)
    y.sum().backward()
    assert y.tolist() == [0.0, 1.0] and x.grad.tolist() == [0.0, 1.0]


def test_a_condition_must_be_bool():
    with pytest.raises(TypeError, match=r"where: expected a bool condition, got f32\[1\]@cpu; compare it"):
        F.where(tensor([1.0]), 1.0, 2.0)
    with pytest.raises(ValueError, match="where: expected shapes that broadcast"):
        F.where(tensor([True, False]), tensor([1.0, 2.0, 3.0]), 0.0)
