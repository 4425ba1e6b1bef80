"""Functions under borrowed names keep the rules that come with the names: broadcasting, positions, integers, NaN."""

from __future__ import annotations

import re

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_cosine_similarity_broadcasts_before_it_sums(axis: int) -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(1, 2, 3)), random.normal(size=(2, 1, 3))
    wide_a, wide_b = np.broadcast_arrays(a, b)
    right = (wide_a * wide_b).sum(axis) / np.sqrt((wide_a**2).sum(axis) * (wide_b**2).sum(axis))
    given = dt.tensor(a, dtype="f64"), dt.tensor(b, dtype="f64")
    np.testing.assert_allclose(F.cosine_similarity(*given, axis).numpy(), right)
    np.testing.assert_allclose(dt.trace(F.cosine_similarity)(*given, axis).numpy(), right)
    assert np.abs(right).max() <= 1


def test_a_divergence_from_what_is_no_probability_is_no_number() -> None:
    prediction = dt.tensor([-1.0, -2.0, -3.0], dtype="f64", requires_grad=True)
    target = dt.tensor([0.0, 0.5, -0.5], dtype="f64")
    losses = F.kl_div(prediction, target, reduction="none")
    np.testing.assert_allclose(losses.numpy(), [0.0, 0.5 * (np.log(0.5) + 2.0), np.nan])
    losses.sum().backward()
    assert prediction.grad is not None
    np.testing.assert_allclose(prediction.grad.numpy(), [0.0, -0.5, 0.5])


def test_a_divergence_of_one_number_is_its_batch_mean() -> None:
    given = dt.tensor(-1.0), dt.tensor(0.5)
    assert F.kl_div(*given, reduction="batchmean").item() == F.kl_div(*given, reduction="sum").item()


@pytest.mark.parametrize("function", [F.sum, F.mean, F.max, F.any, F.softmax, F.cumsum, F.argmax, F.norm])
def test_a_flag_where_an_axis_goes_is_no_axis(function) -> None:
    x = dt.tensor([[1.0, 2.0], [3.0, 5.0]])
    given = (x, 2, False) if function is F.norm else (x, False)
    with pytest.raises(TypeError, match="expected an axis as an int, got False of type bool; give flags by name"):
        function(*given)


def test_corrections_and_orders_are_numbers() -> None:
    x = dt.tensor([3.0, 4.0])
    with pytest.raises(TypeError, match="var: expected correction as a number, got 'one'"):
        F.var(x, correction="one")
    with pytest.raises(TypeError, match=re.escape("norm: expected ord as a number, got 'nuc'")):
        F.norm(x, "nuc")
    assert F.norm(x, "fro").item() == 5.0


@pytest.mark.parametrize("function", [F.floor, F.ceil, F.round, F.trunc])
@pytest.mark.parametrize("dtype", ["u8", "s8", "s32", "s64"])
def test_integers_stay_where_rounding_has_nothing_to_do(function, dtype: str) -> None:
    numbers = dt.tensor([0, 1, 2**53 + 1 if dtype == "s64" else 101], dtype=dtype)
    for result in (function(numbers), dt.trace(function)(numbers)):
        assert result.dtype is numbers.dtype
        assert result.tolist() == numbers.tolist()


@pytest.mark.parametrize("name, right", [("max", [3.0, 2.0]), ("min", [2.0, 1.0])])
def test_a_tensor_beside_max_and_min_is_the_other_operand(name: str, right: list[float]) -> None:
    x = dt.tensor([3.0, 1.0])
    assert getattr(x, name)(dt.tensor(2.0)).tolist() == right
    assert getattr(dt, name)(x, dt.tensor([2.0, 2.0])).tolist() == right


def test_the_third_argument_of_instance_norm_is_no_flag() -> None:
    assert nn.InstanceNorm2d(3, 1e-5, 0.3).weight is None  # it is PyTorch's, a momentum
    assert nn.InstanceNorm2d(3, 1e-5, 0.3).momentum == 0.3
    assert nn.InstanceNorm2d(3, 1e-5, affine=True).weight is not None


@pytest.mark.parametrize(
    "limits", [(float("inf"),), (0.0, float("nan")), (float("-inf"), 1.0, 2.0), (0, 5, float("inf"))]
)
def test_a_range_has_finite_limits(limits: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="arange: expected finite numbers, got start"):
        F.arange(*limits)


def test_max_along_an_axis_is_of_a_tensor() -> None:
    for function in (dt.max, dt.min):
        with pytest.raises(TypeError, match="expected a tensor, got 2 of type int"):
            function(2, 3)
