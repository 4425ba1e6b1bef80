"""Comparisons, tests of floats, logic and bits against NumPy; no gradient, clear dtypes."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.capture.trace import trace
from dtrain.core.tensor_factory import tensor

X = np.array([-1.0, 0.0, 2.0, np.nan, np.inf])
Y = np.array([-1.0, 1.0, 0.0, np.nan, 5.0])
BITS = (np.array([6, -3, 0, 127], np.int8), np.array([3, 5, 1, 2], np.int8))


@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_comparisons_are_numpys(name):
    result = getattr(F, name)(tensor(X), tensor(Y))
    assert result.dtype.tag == "bool" and not result.requires_grad
    np.testing.assert_array_equal(result.numpy(), getattr(np, name)(X, Y))


def test_comparison_operators():
    x, y = tensor([1.0, 2.0, 3.0]), tensor([3.0, 2.0, 1.0])
    assert (x < y).tolist() == [True, False, False]
    assert (x <= 2).tolist() == [True, True, False]
    assert (x > y).tolist() == [False, False, True]
    assert (x <= 2).tolist() == [True, True, False]
    assert (x == y).tolist() == [False, True, False]
    assert (x != 2.0).tolist() == [True, False, True]


def test_comparison_promotes():
    assert (tensor([1, 2], dtype="s32") == tensor([1.0, 2.5])).tolist() == [True, False]


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite"])
def test_tests_of_floats_are_numpys(name):
    np.testing.assert_array_equal(getattr(F, name)(tensor(X)).numpy(), getattr(np, name)(X))


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic_takes_any_dtype(name):
    x, y = np.array([0.0, 0.0, 2.0, -1.0]), np.array([0.0, 3.0, 0.0, 1.0])
    np.testing.assert_array_equal(getattr(F, name)(tensor(x), tensor(y)).numpy(), getattr(np, name)(x, y))


def test_logical_not_of_numbers():
    assert F.logical_not(tensor([0.0, 2.0])).tolist() == [True, False]


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"])
def test_bits_are_numpys(name):
    x, y = BITS
    result = getattr(F, name)(tensor(x), tensor(y))
    assert result.dtype.tag == "s8"
    np.testing.assert_array_equal(result.numpy(), getattr(np, name)(x, y))


def test_not_flips_bits_of_integers_and_truth_of_bools():
    assert (~tensor([0, 5, -1], dtype="s16")).tolist() == [-1, -6, 0]
    assert (~tensor([0, 5], dtype="u8")).tolist() == [255, 250]
    assert (~tensor([True, False])).tolist() == [False, True]
    mask = tensor([True, True, False]) & tensor([True, False, False])
    assert mask.tolist() == [True, False, False]
    assert (mask | True).tolist() == [True, True, True]
    assert (mask ^ True).tolist() == [False, True, True]


def test_bits_of_floats_are_refused():
    with pytest.raises(TypeError, match="bitwise_and: expected integers or bools, got f32"):
        tensor([1.0]) & tensor([2.0])
    with pytest.raises(TypeError, match="bitwise_not: expected integers or bools, got f32"):
        ~tensor([1.0])


def test_what_is_no_number_is_not_equal():
    x = tensor([1.0])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == "text") is False


LARGE = [300, 256, -1, -200, 2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 10**40]
INTEGER_TAGS = ["bool", "u8", "s8", "s16", "s32", "s64"]
NAMES = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


@pytest.mark.parametrize("tag", INTEGER_TAGS)
@pytest.mark.parametrize("name", NAMES)
def test_comparisons_answer_for_numbers_beyond_the_dtype(name, tag):
    """As Python compares integers; on either side, eagerly and traced."""
    x = tensor([0, 1, 0], dtype=tag)
    compare = getattr(operator, {"equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le",
                                 "greater": "gt", "greater_equal": "ge"}[name])  # fmt: skip
    for number in LARGE:
        for function in (getattr(F, name), trace(lambda a, b: getattr(F, name)(a, b))):
            assert function(x, number).tolist() == [compare(value, number) for value in (0, 1, 0)]
        assert getattr(F, name)(number, x).tolist() == [compare(number, value) for value in (0, 1, 0)]
        assert compare(x, number).tolist() == [compare(value, number) for value in (0, 1, 0)]


@pytest.mark.parametrize("tag", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("name", NAMES)
def test_infinity_is_no_large_number(name, tag):
    x = tensor([np.inf, -np.inf, 0.0, np.nan], dtype=tag)
    compare = getattr(operator, {"equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le",
                                 "greater": "gt", "greater_equal": "ge"}[name])  # fmt: skip
    for number in (1e5, -1e5, 1e300, -1e300, 10**400, -(10**400), np.inf):
        got = getattr(F, name)(x, number).tolist()
        assert got == [compare(float(value), number) for value in (np.inf, -np.inf, 0.0, np.nan)], number


def test_truth_of_large_numbers_and_arithmetic_with_them():
    x = tensor([0, 1], dtype="u8")
    assert F.logical_and(x, 300).tolist() == [False, True] and F.logical_or(x, -1).tolist() == [True, True]
    with pytest.raises(
        OverflowError, match=r"expected a number in \[0, 255\] beside a tensor of dtype u8, got 300; cast"
    ):
        x + 300
    with pytest.raises(OverflowError, match="expected a number in"):
        x.to("f32") * 10**400
