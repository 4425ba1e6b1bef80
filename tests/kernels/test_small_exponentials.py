"""Functions of e^x far below zero: the same numbers on every instruction set, down to the smallest there are."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.kernel_checks import COMPILED

from dtrain.kernels import Candidate

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
X = np.concatenate(
    [-np.linspace(80, 106, 20_001), [-87.33654, -87.62, -103.9, -103.9721, -104.0, -1000.0, -3e38, -np.inf]]
).astype(np.float32)
OPS = ("sigmoid", "silu")


def wide(op: str, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        sigmoid = 1 / (1 + np.exp(-x.astype(np.float64)))
        return sigmoid if op == "sigmoid" else np.where(np.isinf(x), np.nan, x * sigmoid)


KERNELS = [kernel for kernel in COMPILED if kernel.op in OPS and "_f32_" in kernel.name]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_values_do_not_end_at_the_smallest_normal_number(kernel: Candidate) -> None:
    got, wanted = np.empty_like(X), wide(kernel.op, X)
    kernel.function(X, out=got)
    factor = 1 if kernel.op == "sigmoid" else np.abs(X)  # an error of e^x is multiplied
    close = np.abs(got - wanted) <= 2e-6 * np.abs(wanted) + SMALLEST * np.maximum(1, factor)
    assert (close | (np.isnan(got) & np.isnan(wanted))).all()
    at = list(X).index(np.float32(-87.62))
    assert abs(float(got[at]) / wanted[at] - 1) < 1e-6


@pytest.mark.parametrize("op", OPS)
def test_gradients_of_any_size_are_those_of_plain_code(op: str) -> None:
    kernels = {one.isa: one for one in COMPILED if one.op == f"{op}_backward" and "_f32_" in one.name}
    if not kernels:
        pytest.skip("the compiled module is not built")
    known = X if op == "silu" else np.linspace(0, 1, X.size, dtype=np.float32)  # silu reads x, sigmoid y
    for size in (1.0, 3e38, np.inf):
        grad, found = np.full_like(X, size), {}
        for isa, kernel in kernels.items():
            found[isa] = np.empty_like(X)
            kernel.function(grad, known, out=found[isa])
        plain = found.pop("scalar")
        for isa, mine in found.items():
            np.testing.assert_array_equal(np.isnan(mine), np.isnan(plain), err_msg=f"{isa} {size}")
            allowed = 1e-5 * np.abs(plain) + 200 * SMALLEST * min(size, 3e38)
            with np.errstate(all="ignore"):
                assert ((mine == plain) | np.isnan(plain) | (np.abs(mine - plain) <= allowed)).all(), (isa, size)
