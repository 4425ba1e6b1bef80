"""Asking a tensor without numbers for them: the error says which traced function it left, and by which line."""

from __future__ import annotations

import copy
import inspect
import math
import operator
from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError, TraceError


class Meter(nn.Module):
    def __init__(self) -> None:
        self.total = 0.0
        self.losses: list[dt.Tensor] = []

    def forward(self, loss: dt.Tensor) -> dt.Tensor:
        self.total = self.total + loss
        self.losses.append(loss)
        return loss


ASKS: dict[str, Callable[[dt.Tensor], object]] = {
    "item": lambda t: t.item(),
    "float": float,
    "int": int,
    "bool": bool,
    "format": lambda t: f"{t:.3f}",
    "percent": lambda t: "%.3f" % t,  # noqa: UP031
    "round": lambda t: round(t, 2),
    "floor": math.floor,
    "tolist": lambda t: t.tolist(),
    "numpy": lambda t: t.numpy(),
    "asarray": np.asarray,
    "dlpack": np.from_dlpack,
    "ufunc": lambda t: np.hypot(t, 1.0),
    "op": lambda t: t + 1,
    "numpy on the left": lambda t: np.ones(2) * t,
    "function": F.exp,
    "written into another": lambda t: dt.zeros(()).copy_(t),
    "assigned": lambda t: dt.zeros(()).assign_(t),
    "written": lambda t: t.detach().zero_(),
    "parameter": dt.Parameter,
    "another trace": lambda t: dt.trace(lambda: t * 2)(),
    "asked in another trace": lambda t: dt.trace(lambda: t.item())(),
    "argument of a trace": lambda t: dt.trace(lambda x: x * 2)(t),
}


@pytest.fixture(scope="module")
def escaped() -> tuple[dt.Tensor, dt.Tensor, str]:
    """What a traced training step left in a list and in an attribute, and the line that made it."""
    meter = Meter()

    @dt.trace
    def train_step(x):
        return meter((x * 3).sum())

    line = inspect.getsourcelines(train_step._function)[1] + 2
    for _ in range(3):
        assert train_step(dt.ones(2)).item() == 6
    assert len(train_step.graphs) == len(meter.losses) == 1
    return meter.losses[0], meter.total, f"test_tensor_numbers.py:{line}"


@pytest.mark.parametrize("ask", ASKS)
def test_it_names_the_function_that_it_left(escaped, ask):
    loss, total, line = escaped
    with pytest.raises(TraceError, match=rf"left over from an?(other)? traced function.*train_step, at {line}"):
        ASKS[ask](loss)
    with pytest.raises(TraceError, match=r"train_step, at test_tensor_numbers.*return it from the function"):
        ASKS[ask](total)


def test_its_text_names_it_too(escaped):
    loss, _, line = escaped
    assert f"{loss}" == repr(loss) == f"Tensor(f32[]@cpu, symbolic (train_step, at {line}))"
    assert "train_step" in repr(copy.copy(loss))


def test_arguments_and_gradients_that_escape():
    kept = []

    @dt.trace
    def step(x):
        y = x.detach().requires_grad_()
        (y * y).sum().backward()
        kept.extend([x, y.grad])
        return x * 1

    step(dt.ones(2))
    for tensor in kept:
        with pytest.raises(TraceError, match=r"left over from a traced function \(step"):
            tensor.tolist()


def test_inside_its_own_function_the_advice_is_another():
    with pytest.raises(TraceError, match="inside a traced function, where only shapes are known"):
        dt.trace(lambda x: x.sum().item())(dt.ones(2))


def test_a_tensor_made_outside_adds_up_in_every_run():
    total = dt.zeros(())

    @dt.trace
    def step(x):
        loss = (x * 3).sum()
        total.add_(loss.detach())
        return loss

    for _ in range(3):
        step(dt.ones(2))
    assert total.item() == 18


LONG = 2**62 + 1  # no float holds it


def test_one_element_is_the_number_that_python_asks_for():
    for shape in ((), (1,), (1, 1)):
        half = dt.full(shape, -2.5)
        assert [math.trunc(half), math.floor(half), math.ceil(half), round(half)] == [-2, -3, -2, -2]
        assert round(half + 0.0625, 2) == -2.44 and round(half * 100, -2) == -200.0 and complex(half) == -2.5
        assert type(round(half)) is int and type(round(half, 1)) is float
        long = dt.full(shape, LONG, dtype="s64")
        for ask in (int, round, math.trunc, math.floor, math.ceil, operator.index):
            assert ask(long) == LONG and type(ask(long)) is int
    for dtype in ("bf16", "f16", "f64", "s8", "bool"):
        one = dt.ones((), dtype=dtype)
        assert [f(one) for f in (int, float, complex, bool, math.trunc, math.ceil)] == [1, 1.0, 1 + 0j, True, 1, 1]


@pytest.mark.parametrize("name", ["int", "float", "complex", "math.trunc", "math.floor", "math.ceil", "round", "item"])
def test_several_elements_are_no_number(name):
    ask = {"item": dt.Tensor.item}.get(name) or eval(name)
    with pytest.raises(ShapeError, match=rf"^{name}\(\): expected a tensor of one element, got f32\[2\]@cpu"):
        ask(dt.ones(2))


def test_what_is_no_number_says_so_in_our_words():
    with pytest.raises(TypeError, match="index: expected an integer tensor of one element"):
        operator.index(dt.ones(1))
    with pytest.raises(TypeError, match=r"round\(\): expected digits as an int, got 0.5 of type float"):
        round(dt.ones(1), 0.5)
    with pytest.raises(TypeError, match="iteration: expected a tensor with at least one axis"):
        list(dt.tensor(1.0))
    with pytest.raises(TypeError, match=r"pow\(\): expected a base and an exponent, got a modulus besides"):
        pow(dt.ones(2), 2, 3)


@pytest.mark.parametrize("traced", [False, True])
def test_divmod_is_of_elements(traced):
    def both(x):
        return (*divmod(x, 2), *divmod(7.0, x), *divmod(x, x + 1))

    x = np.array([3.5, -3.5, 0.5])
    got = (dt.trace(both) if traced else both)(dt.tensor(x))
    wanted = (*divmod(x, 2), *divmod(7.0, x), *divmod(x, x + 1))
    for a, b in zip(got, wanted, strict=True):
        assert np.array_equal(a.numpy(), b)
    assert [part.tolist() for part in divmod(dt.tensor([7, -7]), 2)] == [[3, -4], [1, 1]]


def test_in_asks_for_any_equal_element():
    x = dt.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert 3 in x and 5 not in x and dt.tensor(4.0) in x and dt.tensor([9.0, 2.0]) in x
    assert 2.0 in dt.tensor(2.0)
    with pytest.raises(TraceError):
        dt.trace(lambda y: 1 in y)(x)
