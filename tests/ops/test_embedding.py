"""Embedding: rows, their gradient in order, the padding row, wrong numbers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import DtypeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(11)
NUMBERS = np.array([[1, 0, 3], [3, 3, 1]])


@pytest.mark.parametrize("numbers", [NUMBERS, NUMBERS.astype(np.int32), np.array(2), np.zeros((0, 2), int)])
def test_rows(numbers: np.ndarray) -> None:
    weight = RNG.normal(size=(4, 5))
    assert np.array_equal(F.embedding(wrap(numbers), wrap(weight)).numpy(), weight[numbers])


def test_gradients() -> None:
    assert_gradients(lambda w: F.embedding(wrap(NUMBERS), w * w), RNG.normal(size=(4, 3)), second=True)


def test_gradient_of_rows_repeats_bitwise() -> None:
    numbers = RNG.integers(0, 7, 500)
    upstream = RNG.normal(size=(500, 3)).astype(np.float32)
    gradients = []
    # Rows 7 to 9 come between the others the second time: they must not change how those are added up.
    more_numbers = np.insert(numbers, 100, [9, 7, 8])
    more_rows = np.insert(upstream, [100] * 3, 5.0, axis=0)
    for places, rows in ((numbers, upstream), (more_numbers, more_rows)):
        weight = F.zeros((10, 3)).requires_grad_()
        (F.embedding(wrap(places), weight) * wrap(rows)).sum().backward()
        assert weight.grad is not None
        gradients.append(weight.grad.numpy()[:7])
    wanted = np.stack([upstream[numbers == number].astype(np.float64).sum(0) for number in range(7)])
    np.testing.assert_allclose(gradients[0], wanted, rtol=1e-5, atol=1e-5)
    assert np.array_equal(gradients[0], gradients[1])


@pytest.mark.parametrize("padding_idx", [3, -1])
def test_padding_row_gets_no_gradient(padding_idx: int) -> None:
    weight = wrap(RNG.normal(size=(4, 5))).requires_grad_()
    F.embedding(wrap(NUMBERS), weight, padding_idx).sum().backward()
    assert weight.grad is not None
    assert weight.grad.numpy()[:, 0].tolist() == [1.0, 2.0, 0.0, 0.0]


def test_errors() -> None:
    weight = F.zeros((4, 5))
    with pytest.raises(ValueError, match=r"embedding: expected index values in \[0, 4\), got 4; check the index"):
        F.embedding(wrap(NUMBERS + 1), weight)
    with pytest.raises(ValueError, match="got -1"):
        F.embedding(wrap(NUMBERS - 1), weight)
    with pytest.raises(DtypeError, match="row numbers of integers"):
        F.embedding(F.zeros(3), weight)
    with pytest.raises(ValueError, match="padding_idx among 4 rows, got 4"):
        F.embedding(wrap(NUMBERS), weight, padding_idx=4)
