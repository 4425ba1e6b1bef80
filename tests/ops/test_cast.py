"""Casts between all dtypes, copies, and moves to the device a tensor is on."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.base.dtype import ALL, FLOATS
from dtrain.core.tensor_factory import tensor


@pytest.mark.parametrize("target", ALL, ids=lambda dtype: dtype.tag)
@pytest.mark.parametrize("source", ALL, ids=lambda dtype: dtype.tag)
def test_small_numbers_survive_any_cast(source, target):
    values = np.array([0, 1, 1, 0] if "bool" in (source.tag, target.tag) else [0, 1, 2, 100])
    x = tensor(values, dtype=source)
    result = F.cast(x, target)
    assert result.dtype is target
    np.testing.assert_array_equal(result.numpy().astype(np.float64), values)


def test_to_integers_rounds_towards_zero():
    assert F.cast(tensor([-1.7, -0.2, 0.9, 2.5]), "s32").tolist() == [-1, 0, 0, 2]


def test_to_bool_asks_whether_it_is_zero():
    assert tensor([0.0, 0.3, -2.0]).to("bool").tolist() == [False, True, True]
    assert tensor([0, 256, 3], dtype="s32").to("bool").tolist() == [False, True, True]


def test_floats_round_to_nearest_even():
    assert F.cast(tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8], dtype="f64"), "bf16").numpy().astype(float).tolist() == [
        1.0,
        1 + 2.0**-6,
    ]


def test_a_cast_to_the_same_dtype_is_the_tensor_itself():
    x = tensor([1.0])
    assert F.cast(x, "f32") is x and x.to("f32") is x and x.to("cpu") is x


@pytest.mark.parametrize("target", FLOATS, ids=lambda dtype: dtype.tag)
def test_gradient_comes_back_in_the_dtype_of_the_input(target):
    x = tensor([1.0, 2.0], requires_grad=True)
    (F.cast(x, target) * 2).sum().backward()
    assert x.grad.dtype.tag == "f32" and x.grad.tolist() == [2.0, 2.0]


def test_integers_carry_no_gradient():
    x = tensor([1.0, 2.0], requires_grad=True)
    assert not F.cast(x, "s32").requires_grad


def test_a_copy_has_memory_of_its_own():
    x = tensor([1.0, 2.0], requires_grad=True)
    y = F.copy(x)
    assert not np.shares_memory(x.numpy(), y.numpy())
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
