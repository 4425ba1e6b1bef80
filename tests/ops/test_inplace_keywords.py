"""Every method that writes takes PyTorch's keywords, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain.ops.inplace import WRITERS

X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
PLACES = dt.tensor([[0, 1], [1, 0]])
ONE = dt.tensor([0])

# Method -> keywords of PyTorch, and what x holds then.
CALLS: dict[str, tuple[dict[str, Any], Any]] = {
    "clamp_": ({"min": 2, "max": 3}, X.clip(2, 3)),
    "clip_": ({"max": 3}, X.clip(None, 3)),
    "add_": ({"other": dt.ones(2), "alpha": 2}, X + 2),
    "sub_": ({"other": 1, "alpha": 2}, X - 2),
    "mul_": ({"other": 2}, X * 2),
    "div_": ({"other": 2}, X / 2),
    "pow_": ({"exponent": 2}, X**2),
    "remainder_": ({"other": 2}, X % 2),
    "floor_divide_": ({"other": 2}, X // 2),
    "copy_": ({"src": dt.ones(2), "non_blocking": True}, np.ones_like(X)),
    "fill_": ({"value": 5}, np.full_like(X, 5)),
    "lerp_": ({"end": dt.zeros(2, 2), "weight": 0.5}, X / 2),
    "addcmul_": ({"tensor1": dt.ones(2, 2), "tensor2": dt.ones(2, 2), "value": 2}, X + 2),
    "addcdiv_": ({"tensor1": dt.ones(2, 2), "tensor2": dt.full((2, 2), 2)}, X + 0.5),
    "masked_fill_": ({"mask": dt.tensor(X > 2), "value": 0}, np.where(X > 2, 0, X)),
    "index_put_": ({"indices": (ONE,), "values": dt.ones(2), "accumulate": True}, X + np.array([[1, 1], [0, 0]])),
    "index_add_": ({"dim": 0, "index": ONE, "source": dt.ones(1, 2)}, X + np.array([[1, 1], [0, 0]])),
    "scatter_": ({"dim": 0, "index": PLACES, "src": dt.tensor(X)}, np.array([[1, 4], [3, 2]])),
    "scatter_add_": ({"dim": 0, "index": PLACES, "src": dt.tensor(X)}, X + np.array([[1, 4], [3, 2]])),
    "scatter_reduce_": (
        {"dim": 0, "index": PLACES, "src": dt.tensor(X), "reduce": "sum"},
        X + np.array([[1, 4], [3, 2]]),
    ),
    "normal_": ({"mean": 1, "std": 0}, np.ones_like(X)),
    "fill_diagonal_": ({"fill_value": 5, "wrap": False}, np.array([[5, 2], [3, 5]])),
    "index_fill_": ({"dim": 1, "index": ONE, "value": 5}, np.array([[5, 2], [5, 4]])),
    "bernoulli_": ({"p": 1}, np.ones_like(X)),
    "uniform_": ({"from": 2, "to": 2}, np.full_like(X, 2)),
}
BITS = ("bitwise_and_", "bitwise_or_", "bitwise_xor_")


@pytest.mark.parametrize("name", CALLS)
def test_a_method_takes_the_keywords_of_pytorch(name: str) -> None:
    keywords, wanted = CALLS[name]
    x = dt.tensor(X)
    assert getattr(x, name)(**keywords) is x
    np.testing.assert_allclose(x.numpy(), wanted)


@pytest.mark.parametrize("name", BITS)
def test_bits(name: str) -> None:
    x = dt.tensor([5, 6])
    assert getattr(x, name)(other=3) is x


def test_methods_that_are_not_tried_here_take_no_argument() -> None:
    rest = set(WRITERS) - set(CALLS) - set(BITS)
    for name in rest - {"logical_not_"}:
        getattr(dt.tensor(np.full((2,), 0.5)), name)()
    assert dt.tensor([True]).logical_not_().item() is False


def test_functions_keep_their_names_in_errors() -> None:
    with pytest.raises(TypeError, match=r"clip\(\).*'mn'"):
        dt.clamp(dt.tensor(X), mn=2)
    with pytest.raises(TypeError, match=r"addcmul_\(\).*'tensor3'"):
        dt.tensor(X).addcmul_(1, 2, tensor3=2)


@pytest.mark.parametrize("dtype", ["bool", "s64", "u8", "f16", "f32"])
@pytest.mark.parametrize("value", [0, 1, True, 0.5, dt.tensor(2), dt.tensor(0.5)])
def test_what_is_filled_in_takes_the_dtype_of_the_tensor(dtype: str, value: Any) -> None:
    """Masks are cut with 0 in many scripts: a number that is written somewhere does not ask for a wider result."""
    x = dt.tensor(X).to(dtype)
    wanted = x.masked_fill(dt.tensor(X > 2), value)
    y = x.clone()
    y[dt.tensor(X > 2)] = value
    assert x.masked_fill_(dt.tensor(X > 2), value) is x
    assert x.tolist() == wanted.tolist() == y.tolist() and x.dtype == wanted.dtype
    corner = wanted.clone()
    corner[0, 0] = corner[1, 1] = value
    assert wanted.fill_diagonal_(value).tolist() == corner.tolist() and wanted.dtype == corner.dtype
