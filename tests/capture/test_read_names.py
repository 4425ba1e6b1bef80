"""What a traced function reads by dots, through its arguments, and in hooks: a change leads to another capture."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

SCALE = 2.0
RATES = {0: 2.0}
HOOK_RATES = {0: 2.0}


@pytest.fixture
def helpers(monkeypatch):
    module = ModuleType("some_helpers")
    exec("OTHER = 1.0\nSCALE = 2.0\ndef scaled(y):\n    return y * SCALE\n", vars(module))
    monkeypatch.setitem(sys.modules, "some_helpers", module)
    monkeypatch.setitem(globals(), "some_helpers", module)
    return module


class Config:
    scale = 2.0

    class Inner:
        scale = 2.0

    @staticmethod
    def scaled(y: Any) -> Any:
        return y * SCALE


class Scaler:
    """A plain object: what its methods name is looked at."""

    def __call__(self, y: Any) -> Any:
        return self.helped(y)

    def helped(self, y: Any) -> Any:
        return y * SCALE

    @property
    def scale(self) -> float:
        return SCALE


class Nested:
    def helped(self, y: Any) -> Any:
        return y * SCALE

    def helped_inside(self, y: Any) -> Any:
        return (lambda: self.helped(y))()


class Parent(nn.Module):
    scale = 2.0

    def forward(self, y: Any) -> Any:
        return y * SCALE


class Other(Parent):
    def forward(self, y: Any) -> Any:
        return super().forward(y) * 1


class Child(Other):
    def forward(self, y: Any) -> Any:
        return super().forward(y) * 1


class TypeReader(Parent):
    def forward(self, y: Any) -> Any:
        return y * type(self).scale


class ByText(Parent):
    def forward(self, y: Any) -> Any:
        return y * getattr(self, "sca" + "le")


class Twice(dt.Function):
    def forward(self, y: Any) -> Any:
        return y * SCALE

    def backward(self, gradient: Any) -> Any:
        return gradient * RATES[0]


def with_default(y: Any, scale: float = 2.0) -> Any:
    return y * scale


def with_keyword_default(y: Any, *, scale: float = 2.0) -> Any:
    return y * scale


def with_keywords(y: Any, *, scale: float = 2.0) -> Any:
    return y * scale


def imports_inside(y: Any) -> Any:
    from some_helpers import OTHER, SCALE

    return y * SCALE * OTHER


def closed_over(kind: Any) -> Any:
    return lambda y: y * kind.scale


def names_what_may_come(y: Any) -> Any:
    try:
        return y * NOT_THERE_YET  # type: ignore[name-defined]
    except NameError:
        return y * 2


scaler, nested, child, type_reader, by_text = Scaler(), Nested(), Child(), TypeReader(), ByText()
held = SimpleNamespace(kind=Config)
hooked = nn.Identity()
hooked.register_forward_hook(lambda module, inputs, output: output * RATES[0])

FUNCTIONS = {
    "a helper of a module": (lambda y: some_helpers.scaled(y), "helpers.SCALE"),  # type: ignore[name-defined] # noqa: F821
    "a variable of a module": (lambda y: y * some_helpers.SCALE, "helpers.SCALE"),  # type: ignore[name-defined] # noqa: F821
    "a module imported inside": (imports_inside, "helpers.SCALE"),
    "a class attribute": (lambda y: y * Config.scale, "Config.scale"),
    "an attribute of a class in a class": (lambda y: y * Config.Inner.scale, "Config.Inner.scale"),
    "an attribute of a class in a closure variable": (closed_over(Config), "Config.scale"),
    "an attribute of a class that an object holds": (lambda y: y * held.kind.scale, "Config.scale"),
    "an attribute of the module's class, by a text": (lambda y: by_text(y), "ByText.scale"),
    "a method that a function in a method calls": (lambda y: nested.helped_inside(y), "SCALE"),
    "defaults of keywords": (lambda y: with_keywords(y), "keyword defaults"),
    "a static method": (lambda y: Config.scaled(y), "SCALE"),
    "an object that is called": (lambda y: scaler(y), "SCALE"),
    "a method of an object": (lambda y: scaler.helped(y), "SCALE"),
    "a property of an object": (lambda y: y * scaler.scale, "SCALE"),
    "the forward of a grandparent": (lambda y: child(y), "SCALE"),
    "an attribute of the module's type": (lambda y: type_reader(y), "TypeReader.scale"),
    "a hook of a module": (lambda y: hooked(y), "RATES"),
    "the forward of a Function": (lambda y: Twice()(y), "SCALE"),
    "a default": (lambda y: with_default(y), "default"),
    "a default of a keyword": (lambda y: with_keyword_default(y), "keyword default"),
    "a global that was not there": (names_what_may_come, "NOT_THERE_YET"),
}


def _change(monkeypatch: Any, what: str, helpers: Any) -> None:
    if what == "RATES":
        monkeypatch.setitem(RATES, 0, 5.0)
    elif what == "default":
        monkeypatch.setattr(with_default, "__defaults__", (5.0,))
    elif what == "keyword defaults":
        monkeypatch.setattr(with_keywords, "__kwdefaults__", {"scale": 5.0})
    elif what == "keyword default":
        monkeypatch.setitem(with_keyword_default.__kwdefaults__, "scale", 5.0)
    elif "." in what:
        owner, name = what.rsplit(".", 1)
        places = {
            "helpers": helpers,
            "Config": Config,
            "Config.Inner": Config.Inner,
            "TypeReader": TypeReader,
            "ByText": ByText,
        }
        monkeypatch.setattr(places[owner], name, 5.0, raising=False)
    else:
        monkeypatch.setitem(globals(), what, 5.0)


@pytest.mark.parametrize("what", FUNCTIONS)
def test_what_is_read_by_dots(what, monkeypatch, helpers):
    function, changed = FUNCTIONS[what]
    step = dt.trace(function)
    assert step(dt.ones(1)).item() == 2
    assert step(dt.ones(1)).item() == 2 and len(step.graphs) == 1
    _change(monkeypatch, changed, helpers)
    assert step(dt.ones(1)).item() == 5
    assert step(dt.ones(1)).item() == 5 and len(step.graphs) == 2


def test_backward_of_functions_and_hooks_of_gradients(monkeypatch):
    hooked_leaf, leaf = dt.Parameter([1.0]), dt.Parameter([1.0])
    hooked_leaf.register_grad_hook(lambda gradient: gradient * HOOK_RATES[0])

    @dt.trace
    def step():
        hooked_leaf.grad = leaf.grad = None
        (hooked_leaf + Twice()(leaf)).sum().backward()

    for count, (rate, hook_rate) in enumerate([(2.0, 2.0), (5.0, 2.0), (5.0, 3.0)], 1):
        monkeypatch.setitem(RATES, 0, rate)
        monkeypatch.setitem(HOOK_RATES, 0, hook_rate)
        step()
        step()
        assert (leaf.grad.item(), hooked_leaf.grad.item()) == (rate, hook_rate)
        assert len(step.graphs) == count


@dataclasses.dataclass(eq=False)
class Trainer:
    scale: float = 2.0
    calls: int = 0

    @dt.trace
    def step(self, y: Any) -> Any:
        self.calls += 1
        return self.scaled(y)

    def scaled(self, y: Any) -> Any:
        return y * self.scale


class PlainTrainer:
    @dt.trace
    def step(self, y: Any) -> Any:
        return self.scaled(y)

    def scaled(self, y: Any) -> Any:
        return y * SCALE


def test_arguments_that_are_functions_and_objects(monkeypatch):
    step = dt.trace(lambda y, function: function(y))
    plain, trainer = PlainTrainer(), Trainer()
    assert [step(dt.ones(1), with_default).item(), plain.step(dt.ones(1)).item()] == [2, 2]
    assert step(dt.ones(1), scaler.helped).item() == step(dt.ones(1), scaler).item() == 2
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert step(dt.ones(1), scaler.helped).item() == step(dt.ones(1), scaler).item() == 5
    assert plain.step(dt.ones(1)).item() == 5
    assert trainer.step(dt.ones(1)).item() == 2
    trainer.calls = 7
    assert trainer.step(dt.ones(1)).item() == 2


def test_fields_of_dataclasses_that_are_arguments():
    settings, step = Trainer(), dt.trace(lambda y, settings: y * settings.scale)
    assert step(dt.ones(1), settings).item() == 2
    settings.scale = 5.0
    assert step(dt.ones(1), settings).item() == 5
    assert len(step.graphs) == 2


@dataclasses.dataclass(frozen=True)
class Frozen:
    scale: Any
    note: Any = dataclasses.field(default=1, compare=False)


@pytest.mark.parametrize("first, second", [
    (Frozen(0.0), Frozen(-0.0)), (Frozen(1), Frozen(1.0)), (Frozen(1, note=1), Frozen(1, note=2)),
    (frozenset([1]), frozenset([1.0])), (np.float64(0.0), np.float64(-0.0)), (Frozen((1, True)), Frozen((1, 1))),
])  # fmt: skip
def test_equal_arguments_that_are_captured_differently(first, second):
    step = dt.trace(lambda y, value: y * 1)
    step(dt.ones(1), first)
    step(dt.ones(1), second)
    assert len(step.graphs) == 2
    step(dt.ones(1), second)
    step(dt.ones(1), first)
    assert len(step.graphs) == 2


def test_dicts_with_equal_keys_of_other_types():
    step = dt.trace(lambda y, table: y * next(iter(table)))
    assert step(dt.ones(1, dtype=dt.int64), {1: 0}).dtype is dt.int64
    assert step(dt.ones(1, dtype=dt.int64), {1.0: 0}).dtype is dt.float32


class Pair(nn.Module):
    def __init__(self) -> None:
        self.first, self.second = nn.Identity(), nn.Identity()


pair = Pair()


def test_a_module_by_dots_is_only_what_was_read_of_it():
    step = dt.trace(lambda y: pair.first(y))
    step(dt.ones(1))
    pair.second = nn.Tanh()
    step(dt.ones(1))
    assert len(step.graphs) == 1
    pair.first = nn.Tanh()
    assert step(dt.ones(1)).item() == pytest.approx(np.tanh(1))
