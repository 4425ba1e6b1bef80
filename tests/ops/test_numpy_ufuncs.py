"""NumPy on the left is as NumPy on the right: a tensor, with the gradient of the operator."""

from __future__ import annotations

import operator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import TraceError
from dtrain.ops.numpy_ufuncs import OURS

ARITHMETIC = (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
)  # fmt: skip
COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
BITS = (operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift)
LEFT: list[Any] = [
    np.float64(1.5), np.float32(1.5), np.float16(1.5), ml_dtypes.bfloat16(1.5), np.int64(3), np.uint8(3),
    np.array(2.5), np.array([3, 1]), np.array([0.5, 2.0]), np.array([0.5, 2.0], np.float32),
    np.array([[1.0], [2.0]], np.float32),
]  # fmt: skip


def describe(value: Any) -> str:
    return f"{type(value).__name__}-{value.dtype}-{np.ndim(value)}" if hasattr(value, "dtype") else value.__name__


def as_ours(left: Any) -> Any:
    """The operand as it is taken on the right: np.float64 is a Python float."""
    return float(left) if isinstance(left, float) else dt.as_tensor(np.asarray(left))


@pytest.mark.parametrize("left", LEFT, ids=describe)
@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISONS], ids=describe)
def test_numbers_and_types_are_those_of_the_right(op, left):
    x = dt.Parameter([1.0, 2.0])
    found, wanted = op(left, x), op(as_ours(left), x)
    assert isinstance(found, dt.Tensor) and found.type is wanted.type
    assert np.array_equal(found.numpy(), wanted.numpy())


@pytest.mark.parametrize("left", LEFT, ids=describe)
@pytest.mark.parametrize("op", [op for op in ARITHMETIC if op is not operator.floordiv], ids=describe)
def test_gradients_are_those_of_the_right(op, left):
    found = []
    for operand in (left, as_ours(left)):
        x = dt.Parameter([1.0, 2.0])
        op(operand, x).sum().backward()
        found.append(x.grad.tolist())
    assert found[0] == found[1]


def test_the_values_that_were_lost():
    p = dt.Parameter([1.0, 2.0])
    (np.float64(0.5) * p).sum().backward()
    assert p.grad.tolist() == [0.5, 0.5]
    (np.ones(2) * p).sum().backward()
    assert p.grad.tolist() == [1.5, 1.5] and type(p.grad) is dt.Tensor
    (np.ones((3, 2), np.float32) @ p).sum().backward()
    assert p.grad.tolist() == [4.5, 4.5]


@pytest.mark.parametrize("op", BITS, ids=describe)
def test_bits(op):
    x = dt.tensor([1, 2])
    assert op(np.array([12, 5]), x).tolist() == op(np.array([12, 5]), np.array([1, 2])).tolist()
    assert op(6, x).tolist() == op(6, np.array([1, 2])).tolist()


def test_traced():
    p = dt.Parameter([1.0, 2.0])

    @dt.trace
    def step():
        loss = (np.array([3.0, 4.0], np.float32) * np.exp(p)).sum()
        loss.backward()
        return np.float32(2) - loss

    step()
    np.testing.assert_allclose(p.grad.numpy(), np.array([3, 4]) * np.exp([1, 2]), rtol=1e-6)


ONE = {ufunc: function for ufunc, function in OURS.items() if ufunc.nin == 1}


@pytest.mark.parametrize("ufunc", ONE, ids=describe)
def test_ufuncs_of_one_tensor(ufunc):
    if ufunc in (np.invert, np.logical_not):
        x = dt.tensor([True, False])
    else:
        x = dt.tensor(np.array([1.25, 2.5]) if ufunc is np.arccosh else np.array([0.25, 0.5]))
    found = ufunc(x)
    assert isinstance(found, dt.Tensor)
    np.testing.assert_allclose(found.numpy(), ufunc(x.numpy()), rtol=1e-6)


def test_ufuncs_without_a_counterpart_compute_with_numbers_or_refuse():
    x = dt.tensor([3.0, 4.0])
    assert isinstance(np.hypot(x, x), np.ndarray) and np.add.reduce(x) == 7
    p = dt.Parameter([3.0, 4.0])
    for call in (lambda: np.hypot(p, 1.0), lambda: np.add.reduce(p), lambda: np.add(p, 1.0, out=np.ones(2))):
        with pytest.raises(RuntimeError, match="a NumPy array keeps no history"):
            call()
    with dt.no_grad():
        assert np.hypot(p, 0.0).tolist() == [3, 4]
    with pytest.raises(TraceError, match="a tensor that holds numbers"):
        dt.trace(lambda x: np.hypot(x, x))(x)


FUNCTIONS = {
    "dot": lambda t: np.dot(np.ones(2), t),
    "where": lambda t: np.where(np.array([True, False]), t, 0.0),
    "concatenate": lambda t: np.concatenate([np.ones(2), t]),
    "stack": lambda t: np.stack((t, t)),
    "clip": lambda t: np.clip(t, 0.0, 1.0),
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "norm": np.linalg.norm,
    "einsum": lambda t: np.einsum("i,i->", t, np.ones(2)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_compute_with_numbers_or_refuse(name):
    call = FUNCTIONS[name]
    numbers = call(np.array([3.0, 4.0]))
    assert np.array_equal(call(dt.tensor(np.array([3.0, 4.0]))), numbers)
    p = dt.Parameter(np.array([3.0, 4.0]))
    with pytest.raises(RuntimeError, match=r"np\.\w+ at test_numpy_ufuncs.*a NumPy array keeps no history"):
        call(p)
    with pytest.raises(RuntimeError, match="a NumPy array keeps no history"):
        call(p * 2)
    with dt.no_grad():
        assert np.array_equal(call(p), numbers)
    with pytest.raises(TraceError, match="a tensor that holds numbers"):
        dt.trace(call)(dt.ones(2))


def test_looking_at_numbers_is_no_loss():
    p = dt.Parameter([3.0, 4.0])
    assert np.array_equal(p, [3, 4]) and np.allclose(p * 2, [6, 8]) and np.isclose(p, 3).tolist() == [True, False]
    assert np.shape(p) == (2,) and np.asarray(p).tolist() == [3, 4] and np.copy(p).tolist() == [3, 4]
    np.testing.assert_allclose(p, [3, 4])


def test_an_array_is_added_to_in_place_or_refuses():
    total = np.ones(2)
    total += dt.tensor([1.0, 2.0])
    assert total.tolist() == [2, 3]
    with pytest.raises(RuntimeError, match=r"np\.add at test_numpy_ufuncs"):
        total += dt.Parameter([1.0, 2.0])
    with pytest.raises(RuntimeError, match="use the function of dtrain"):
        total *= F.exp(dt.Parameter([1.0, 2.0]))
