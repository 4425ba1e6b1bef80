"""Every method that writes: changes under no_grad, refuses leaves, and has the gradients of its function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.core.tensor import Tensor
from dtrain.ops.inplace import OPERATORS, WRITERS

X = np.array([[0.3, 0.6, 0.9], [0.2, 0.5, 0.8]], np.float32)
OTHER = np.array([[0.5, 2.0, 1.5], [1.25, 0.75, 3.0]], np.float32)
MASK = np.array([[True, False, True], [False, False, True]])
ROWS = np.array([1, 0])
INDEX = np.array([[1, 0, 0]])
RANDOM = ("normal_", "uniform_")
WHOLE_NUMBERS = ("random_", "bernoulli_")  # drawn as well
INTEGERS = [
    *(name for name in WRITERS if "bitwise" in name),
    *("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"),
]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "lerp_": (OTHER, 0.25),
    "addcmul_": (OTHER, X),
    "addcdiv_": (X, OTHER),
    "masked_fill_": (MASK, 4.0),
    "index_put_": ((ROWS,), OTHER),
    "index_add_": (0, ROWS, OTHER),
    "scatter_": (0, INDEX, OTHER[:1]),
    "scatter_add_": (0, INDEX, OTHER[:1]),
    "scatter_reduce_": (0, INDEX, OTHER[:1], "prod"),
    "fill_diagonal_": (4.0,),
    "index_fill_": (1, np.array([2, 0]), 4.0),
    "clamp_": (0.4, 0.7),
    "clip_": (0.4, 0.7),
    "fill_": (2.0,),
    "copy_": (OTHER,),
    "pow_": (3.0,),
    "__ipow__": (3.0,),
}
BINARY = ("add_", "sub_", "mul_", "div_", "floor_divide_", "remainder_", *OPERATORS)


def arguments(name: str) -> tuple[Any, ...]:
    given = ARGUMENTS.get(name, (OTHER,) if name in BINARY else ())
    return tuple(dt.tensor(value.copy()) if isinstance(value, np.ndarray) else value for value in given)


def function(name: str) -> Any:
    return {**WRITERS, **OPERATORS}[name]


BY_INDEX = ("fill_diagonal_", "index_fill_", "index_put_", "index_add_", "scatter_", "scatter_add_", "scatter_reduce_")
WITHOUT_GRADIENT = ("floor_divide_", "__ifloordiv__")
FLOATING = [name for name in {**WRITERS, **OPERATORS} if name not in (*INTEGERS, *RANDOM, *WHOLE_NUMBERS)]


@pytest.mark.parametrize("name", FLOATING)
def test_writes_a_parameter_under_no_grad_and_refuses_it_outside(name):
    parameter, given = dt.Parameter(X.copy()), arguments(name)
    wanted = function(name)(dt.tensor(X), *given).astype("f32").numpy()
    with pytest.raises(RuntimeError, match=r"a leaf that requires gradients; write inside `with dt\.no_grad"):
        getattr(parameter, name)(*given)
    assert np.array_equal(parameter.numpy(), X)
    memory = parameter.array
    with dt.no_grad():
        assert getattr(parameter, name)(*given) is parameter
    assert np.array_equal(parameter.numpy(), wanted) and parameter.array is memory
    assert parameter.requires_grad and parameter.is_leaf


def slope(write: Any, *, traced: bool) -> tuple[list[Any], list[Any]]:
    """Σ (write(x·1))² · weights, and its gradient in x."""
    x = dt.Parameter(X.copy())
    weights = dt.tensor(np.arange(1, 7, dtype=np.float32).reshape(2, 3))

    def loss() -> Tensor:
        x.grad = None
        total = (write(x * 1.0).square() * weights).sum()
        if total.requires_grad:
            total.backward()
        return total

    total = (dt.trace(loss) if traced else loss)()
    return total.tolist(), [] if x.grad is None else x.grad.tolist()


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", [name for name in FLOATING if name not in WITHOUT_GRADIENT])
def test_gradients_are_those_of_the_function(name, traced):
    given = arguments(name)
    assert slope(lambda y: getattr(y, name)(*given), traced=traced) == slope(
        lambda y: function(name)(y, *given).astype("f32"), traced=False
    )


@pytest.mark.parametrize("name", [name for name in FLOATING if name not in (*WITHOUT_GRADIENT, *BY_INDEX)])
def test_a_part_of_a_tensor_is_written_in_the_whole(name):
    def write(y: Tensor) -> Tensor:
        part = y[1]
        getattr(part, name)(*(value[1] if isinstance(value, Tensor) else value for value in arguments(name)))
        return y

    def set_item(y: Tensor) -> Tensor:
        given = (value[1] if isinstance(value, Tensor) else value for value in arguments(name))
        return dt.functional.set_item(y, 1, function(name)(y[1], *given))

    wanted = slope(set_item, traced=False)
    assert slope(write, traced=False) == wanted == slope(write, traced=True)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name):
    x, y = dt.tensor([12, 5, 7]), dt.tensor([1, 2, 3])
    wanted = function(name)(x, y).tolist()
    assert getattr(x, name)(y) is x and x.tolist() == wanted


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_fill_the_tensor(name):
    x = dt.zeros(1000)
    assert getattr(x, name)() is x
    assert np.unique(x.numpy()).size > 900 and abs(x.mean().item() - (0.5 if name == "uniform_" else 0.0)) < 0.15


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_random_whole_numbers_fill_the_tensor(name):
    x, parameter = dt.zeros(1000), dt.Parameter(np.ones(2, np.float32))
    assert getattr(x, name)(*(2,) * (name == "random_")) is x
    assert set(x.tolist()) == {0.0, 1.0} and abs(x.mean().item() - 0.5) < 0.1
    with pytest.raises(RuntimeError, match="a leaf that requires gradients"):
        getattr(parameter, name)()


def test_names_say_what_they_do():
    assert dt.Tensor.add_.__name__ == "add_" and "Returns self" in dt.Tensor.add_.__doc__
    x = dt.tensor([1.0, 2.0])
    assert x.add_(dt.tensor([1.0, 1.0]), alpha=3).sub_(1, alpha=2).tolist() == [2.0, 3.0]


def test_the_dtype_stays():
    x = dt.tensor([1.0, 2.0], dtype="f32")
    x += dt.tensor([1.0, 1.0], dtype="f64")
    assert x.dtype is dt.float32
    numbers = dt.tensor([1, 2])
    numbers += dt.tensor([1, 1], dtype="s8")
    assert numbers.tolist() == [2, 3] and numbers.dtype is dt.int64
    with pytest.raises(DtypeError, match="expected a result that s64 can hold"):
        numbers += 0.5
    with pytest.raises(DtypeError, match="expected a result that bool can hold"):
        flags = dt.tensor([True])
        flags += 1


def test_the_shape_stays():
    x = dt.ones(3)
    x += dt.ones((1,))
    assert x.tolist() == [2, 2, 2]
    with pytest.raises(ShapeError, match=r"__iadd__: expected a result of shape \(3,\)"):
        x += dt.ones((2, 3))
    with pytest.raises(ShapeError):
        x.copy_(dt.ones(2))


def test_repeated_elements_are_refused():
    with pytest.raises(RuntimeError, match="writable memory"):
        dt.ones(1).broadcast_to((3,)).add_(1)
    x = dt.Parameter([1.0])
    with pytest.raises(RuntimeError, match="which repeats elements"):
        (x * 2).broadcast_to((3,)).add_(1)
    fixed = np.ones(2, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        dt.as_tensor(fixed).zero_()
