"""Asking a tensor without numbers for them: the error says which traced function it left, and by which line."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import TraceError


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
