"""Tensors from nothing against NumPy, in every dtype, eagerly and traced."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.base.dtype import ALL
from dtrain.capture.trace import trace


@pytest.mark.parametrize("dtype", ALL, ids=lambda dtype: dtype.tag)
def test_full_zeros_ones_in_every_dtype(dtype):
    for made, value in (
        (F.full((2, 3), 1, dtype=dtype), 1),
        (F.zeros((2, 3), dtype=dtype), 0),
        (F.ones(3, dtype=dtype), 1),
    ):
        assert made.dtype is dtype
        assert (made.numpy().astype(np.float64) == value).all()


def test_default_dtypes():
    assert F.full(2, 1.5).dtype.tag == "f32"
    assert F.full(2, 1).dtype.tag == "s64"
    assert F.full(2, True).dtype.tag == "bool"
    assert F.arange(3).dtype.tag == "s64" and F.arange(3.0).dtype.tag == "f32"
    assert F.zeros(()).shape == ()


@pytest.mark.parametrize(("n", "m"), [(3, None), (2, 4), (4, 2), (0, 3)])
def test_eye_is_numpys(n, m):
    assert F.eye(n, m).dtype.tag == "f32"
    np.testing.assert_array_equal(F.eye(n, m, dtype="s32").numpy(), np.eye(n, m))


@pytest.mark.parametrize("arguments", [(5,), (2, 7), (7, 2, -2), (0.0, 1.0, 0.1), (3, 3), (5, 2), (-1.5, 2.5, 0.75)])
def test_arange_is_numpys(arguments):
    np.testing.assert_allclose(F.arange(*arguments, dtype="f64").numpy(), np.arange(*arguments, dtype=np.float64))


def test_long_ranges_do_not_drift():
    assert F.arange(0.0, 1e5, 0.1).numpy()[-1] == np.float32(99999.9)


@pytest.mark.parametrize("num", [0, 1, 2, 7])
def test_linspace_is_numpys(num):
    np.testing.assert_array_equal(F.linspace(-1, 2, num).numpy(), np.linspace(-1, 2, num, dtype=np.float32))


def test_like():
    other = F.zeros((2, 3), dtype="s16")
    assert F.ones_like(other).type is other.type
    assert F.full_like(other, 7).tolist() == [[7, 7, 7], [7, 7, 7]]
    assert F.zeros_like(other, dtype="f64").dtype.tag == "f64"


def test_traced_ones_are_the_same():
    traced = trace(lambda x: x + F.arange(3.0) + F.eye(3) + F.linspace(0, 1, 3))
    x = F.ones((3, 3))
    np.testing.assert_array_equal(traced(x).numpy(), (x + F.arange(3.0) + F.eye(3) + F.linspace(0, 1, 3)).numpy())


def test_bad_arguments():
    with pytest.raises(ValueError, match="zeros: expected sizes of at least 0"):
        F.zeros((2, -1))
    with pytest.raises(ValueError, match="arange: expected a step that is not 0"):
        F.arange(0, 5, 0)
    with pytest.raises(TypeError, match="dtype: expected one of"):
        F.zeros(2, dtype="float8")
