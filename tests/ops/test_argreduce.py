"""argmax and argmin: first of equal ones, NaN first, axis and keepdims, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.array([[3.0, 1.0, 3.0], [-2.0, -2.0, 5.0]])


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_they_are_numpys(name, axis):
    result = getattr(F, name)(tensor(X), axis)
    assert result.dtype.tag == "s64"
    np.testing.assert_array_equal(result.numpy(), getattr(np, name)(X, axis=axis))


def test_keepdims():
    assert tensor(X).argmax(1, keepdims=True).tolist() == [[0], [2]]
    assert F.argmin(tensor(X), keepdims=True).tolist() == [[3]]


def test_the_first_nan_wins():
    assert F.argmax(tensor([1.0, np.nan, 9.0, np.nan])).item() == 1


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="argmax: expected at least one element along the reduced axis"):
        F.argmax(tensor(np.zeros((2, 0))), 1)
