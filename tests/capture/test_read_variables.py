"""Globals and closure variables that a traced function reads: a change from outside leads to another capture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

SCALE = 2.0
LAYERS = [nn.Identity()]
SETTINGS: dict[str, Any] = {"shift": 1.0}


def test_globals_that_the_function_names(monkeypatch):
    @dt.trace
    def step(y):
        for layer in LAYERS:
            y = layer(y)
        return (lambda z: z * SCALE)(y) + SETTINGS["shift"]

    assert step(dt.ones(1)).item() == 3
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert step(dt.ones(1)).item() == 6
    monkeypatch.setitem(SETTINGS, "shift", 2.0)
    assert step(dt.ones(1)).item() == 7
    monkeypatch.setitem(globals(), "LAYERS", [nn.Identity(), nn.ReLU()])
    assert step(dt.zeros(1) - 1).item() == 2
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    num_graphs = len(step.graphs)
    step(dt.ones(1))
    assert len(step.graphs) == num_graphs


HELPER_SCALE, step_number = 2.0, 0


def helper(y: Any) -> Any:
    return inner_helper(y) * HELPER_SCALE


def inner_helper(y: Any) -> Any:
    return y + sum(SETTINGS.values())


def test_globals_that_helpers_and_forward_name(monkeypatch):
    class Scaled(nn.Module):
        def __init__(self):
            self.function = lambda y: y * SCALE

        def forward(self, y):
            return helper(self.function(y)) * self.chosen(y)

        def chosen(self, y):
            return LAYERS[-1](y)

    module = Scaled()
    step = dt.trace(lambda y: module(y))
    before = step(dt.ones(1)).item()
    for name, value in (("HELPER_SCALE", 3.0), ("SCALE", 7.0), ("SETTINGS", {"shift": 5.0}), ("LAYERS", [nn.Tanh()])):
        monkeypatch.setitem(globals(), name, value)
        now = step(dt.ones(1)).item()
        assert now == module(dt.ones(1)).item() != before
        before = now
    assert len(step.graphs) == 5


def test_globals_of_methods_and_of_traced_functions_inside(monkeypatch):
    class Plain:
        def run(self, y):
            return y * SCALE

    inner = dt.trace(lambda y: y * HELPER_SCALE)
    method, outer = dt.trace(Plain().run), dt.trace(lambda y: inner(y) + 1)
    assert method(dt.ones(1)).item() == 2 and outer(dt.ones(1)).item() == 3
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    monkeypatch.setitem(globals(), "HELPER_SCALE", 4.0)
    assert method(dt.ones(1)).item() == 3 and outer(dt.ones(1)).item() == 5


def test_a_global_of_the_name_of_an_attribute_is_another_thing():
    global step_number
    p = dt.Parameter([1.0])
    p_holder = SimpleNamespace(step_number=1.0)

    @dt.trace
    def train(y):
        return y * p * p_holder.step_number

    for step_number in range(3):  # noqa: B007
        train(dt.ones(1))
    assert len(train.graphs) == 1


def test_closure_variables():
    factor, model, chosen = 2.0, nn.Identity(), [nn.Identity()]

    @dt.trace
    def step(y):
        return chosen[0](model(y)) * factor

    assert step(dt.ones(1)).item() == 2
    factor = 3.0
    assert step(dt.ones(1)).item() == 3
    model = nn.Tanh()
    assert step(dt.ones(1)).item() == pytest.approx(3 * np.tanh(1))
    chosen[0] = nn.Tanh()
    assert step(dt.ones(1)).item() == pytest.approx(3 * np.tanh(np.tanh(1)))
    assert len(step.graphs) == 4
