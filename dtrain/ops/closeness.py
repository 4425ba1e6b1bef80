"""Whether numbers, or whole tensors, are close or equal."""

from __future__ import annotations

import math

from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.ops.comparison import equal as elementwise_equal
from dtrain.ops.precision import rounded_once
from dtrain.ops.unary import abs as absolute
from dtrain.ops.where import where


@rounded_once
def isclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Where |x − y| ≤ atol + rtol·|y|; equal infinities are close, NaNs where `equal_nan` says so."""
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(expected("isclose", "tolerances of at least 0", f"rtol {rtol} and atol {atol}"))
    x, y = as_tensor(x), as_tensor(y)
    is_equal = elementwise_equal(x, y)
    # Equal infinities have no difference.
    difference = absolute(where(is_equal, 0, x) - where(is_equal, 0, y))
    close = is_equal | ((difference <= atol + rtol * absolute(y)) & (difference < math.inf))
    return close | ((x != x) & (y != y)) if equal_nan else close


def allclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(isclose(x, y, rtol, atol, equal_nan).all())


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether shapes and all elements are equal; `x == y` compares elements."""
    return x.shape == y.shape and bool(elementwise_equal(x, y).all())


# `x == y` compares elements; the method answers once.
install_methods({"isclose": isclose, "allclose": allclose, "equal": _equal})
