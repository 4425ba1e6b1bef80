"""The fully connected layer against x·wᵀ + b, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients
from helpers.tolerance import assert_close

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(2)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,), (0, 4), (2, 0, 4)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_equals_numpy(shape: tuple[int, ...], has_bias: bool) -> None:
    x, weight, bias = draw(*shape), draw(5, 4), draw(5)
    result = F.linear(wrap(x), wrap(weight), wrap(bias) if has_bias else None)
    np.testing.assert_allclose(result.numpy(), x @ weight.T + (bias if has_bias else 0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,)])
def test_gradients(shape: tuple[int, ...]) -> None:
    assert_gradients(F.linear, draw(*shape), draw(5, 4), draw(5), second=True)
    assert_gradients(F.linear, draw(*shape), draw(5, 4))


def test_non_contiguous_input() -> None:
    x, weight = draw(4, 6, 2), draw(3, 4)
    result = F.linear(F.permute(wrap(x), 2, 1, 0), wrap(weight))
    np.testing.assert_allclose(result.numpy(), x.transpose(2, 1, 0) @ weight.T, rtol=1e-12)


def test_bf16_rounds_once() -> None:
    x, weight, bias = (wrap(draw(*shape)).to("bf16") for shape in ((3, 64), (5, 64), (5,)))
    wide = x.to("f32").numpy() @ weight.to("f32").numpy().T + bias.to("f32").numpy()
    assert_close(F.linear(x, weight, bias).numpy(), wrap(wide).to("bf16").numpy())


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ShapeError, match=r"linear: expected x\[..., in\] and weight\[out, in\].*in_features"):
        F.linear(F.zeros((2, 3)), F.zeros((5, 4)))
    with pytest.raises(ShapeError, match=r"linear: expected a bias of shape \(5,\)"):
        F.linear(F.zeros((2, 4)), F.zeros((5, 4)), F.zeros(4))
