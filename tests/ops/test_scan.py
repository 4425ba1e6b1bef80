"""Running sums against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.random.default_rng(2).normal(size=(3, 4, 2))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumsum_is_numpys(axis):
    np.testing.assert_allclose(F.cumsum(tensor(X), axis).numpy(), np.cumsum(X, axis))
    backwards = np.flip(np.cumsum(np.flip(X, axis), axis), axis)
    np.testing.assert_allclose(F.cumsum(tensor(X), axis, reverse=True).numpy(), backwards)


def test_integers_add_up_in_s64():
    result = F.cumsum(tensor(np.full(4, 100), dtype="s8"), 0)
    assert result.dtype.tag == "s64" and result.tolist() == [100, 200, 300, 400]


def test_short_floats_add_up_in_f32():
    assert F.cumsum(tensor(np.ones(4096), dtype="f16"), 0).numpy()[-1] == 4096


def test_a_scalar_has_no_axis():
    with pytest.raises(ValueError, match="cumsum: expected a tensor with at least one axis"):
        F.cumsum(tensor(1.0), 0)
