"""Second gradients of elementwise ops: in short floats those of f32 rounded once; far out they stay in range."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.kernels.formula.row import Row, X
from dtrain.kernels.formula.table import ROWS

OF_INPUTS = [row for row in ROWS if not row.is_binary and row.saved == X and not row.parameters]


def second(row: Row, x: Tensor) -> Tensor:
    [grad] = dt.grad(getattr(F, row.name)(x).sum(), [x], create_graph=True)
    [found] = dt.grad(grad.sum(), [x]) if grad.requires_grad else [dt.zeros_like(x)]
    return found


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("row", OF_INPUTS, ids=lambda row: row.name)
def test_short_floats_round_once(row: Row, dtype: str) -> None:
    low, high = row.domain
    inputs = [np.linspace(low, high, 41)]
    if row.name in ("atan", "asinh", "acosh", "log1p", "softsign"):
        inputs.append(np.array([16.0, 100.0, 300.0, 2000.0]))
    x = dt.tensor(np.concatenate(inputs), dtype=dtype).requires_grad_()
    wide = dt.tensor(x.detach().to("f32").numpy()).requires_grad_()
    np.testing.assert_array_equal(
        second(row, x).to("f32").numpy(), second(row, wide).to(dtype).to("f32").numpy(), strict=True
    )


@pytest.mark.parametrize(("dtype", "far", "near"), [("f32", 3e19, 1e-10), ("f64", 3e154, 1e-90)])
def test_of_a_quotient_far_out(dtype: str, far: float, near: float) -> None:
    """2a/b³ and −1/b², though b² and b³ leave the range."""
    a = np.array([1.0, 1.0, far * 1e10, 1.0])
    b = np.array([0.0, np.inf, far, near])
    x, y = (dt.tensor(side, dtype=dtype).requires_grad_() for side in (a, b))
    [grad] = dt.grad((x / y).sum(), [y], create_graph=True)
    by_x, by_y = dt.grad(grad.sum(), [x, y])
    np.testing.assert_allclose(by_y.numpy(), [np.inf, 0, 2e10 / far / far, 2 / near / near / near], rtol=1e-4)
    np.testing.assert_allclose(by_x.numpy(), [-np.inf, 0, -1 / far / far, -1 / near / near], rtol=1e-4)


@pytest.mark.parametrize("name", ["abs", "relu", "relu6", "leaky_relu", "hardsigmoid"])
def test_functions_of_straight_pieces_have_zeros(name: str) -> None:
    x = dt.tensor([0.5, -0.5, 2.0], requires_grad=True)
    [grad] = dt.grad(getattr(F, name)(x).sum(), [x], create_graph=True)
    assert dt.grad((grad * grad).sum(), [x])[0].tolist() == [0.0, 0.0, 0.0]
