"""Elementwise functions of one input: NumPy's values, special values, slopes at the ends of domains."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

X = np.array([[-1.5, -0.25, 0.0], [0.5, 1.0, 3.75]])

# Public name -> what NumPy calls it, and arguments in its domain.
NAMES = {
    "abs": (np.abs, X), "neg": (np.negative, X), "sign": (np.sign, X), "square": (np.square, X),
    "exp": (np.exp, X), "expm1": (np.expm1, X), "log": (np.log, X + 2), "log1p": (np.log1p, X + 2),
    "sqrt": (np.sqrt, X + 2), "rsqrt": (lambda x: 1 / np.sqrt(x), X + 2), "reciprocal": (lambda x: 1 / x, X + 2),
    "round": (np.round, X), "ceil": (np.ceil, X), "floor": (np.floor, X),
    "sin": (np.sin, X), "cos": (np.cos, X), "tan": (np.tan, X),
    "asin": (np.arcsin, X / 4), "acos": (np.arccos, X / 4), "atan": (np.arctan, X),
    "sinh": (np.sinh, X), "cosh": (np.cosh, X), "tanh": (np.tanh, X),
    "asinh": (np.arcsinh, X), "acosh": (np.arccosh, X + 3), "atanh": (np.arctanh, X / 4),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_unary_functions_are_numpys(name):
    function, argument = NAMES[name]
    np.testing.assert_allclose(getattr(F, name)(tensor(argument)).numpy(), function(argument), rtol=1e-15)
    assert getattr(F, name).__doc__, "a public function without a docstring"


def test_an_op_without_gradient_says_so_in_backward():
    x = tensor([5.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="backward through unique: expected an op with a gradient rule"):
        F.unique(x)[0].sum().backward()


def test_erf_is_the_one_of_the_standard_library():
    from math import erf

    x = np.linspace(-6.5, 6.5, 401)
    np.testing.assert_allclose(F.erf(tensor(x)).numpy(), [erf(v) for v in x], rtol=5e-16, atol=0)
    special = F.erf(tensor([np.inf, -np.inf, np.nan], dtype="f64")).numpy()
    np.testing.assert_array_equal(special, [1.0, -1.0, np.nan])


@pytest.mark.parametrize(("name", "near"), [("asin", 1.0), ("acos", -1.0), ("atanh", 1.0), ("acosh", 1.0)])
def test_slopes_of_inverse_functions_lose_no_digits_at_their_ends(name, near):
    """1 − x² of a rounded x² has few right digits there."""
    inside = np.nextafter(np.float32(near), np.float32(2.0 if name == "acosh" else 0.0))
    values = np.array([inside, near + (inside - near) * 5], np.float32)
    x = tensor(values, requires_grad=True)
    getattr(F, name)(x).sum().backward()
    wide = values.astype(np.float64)
    squares = np.abs(1 - wide**2)
    wanted = 1 / squares if name == "atanh" else 1 / np.sqrt(squares)
    np.testing.assert_allclose(x.grad.numpy(), -wanted if name == "acos" else wanted, rtol=1e-6)
