"""What containers, records, functions and classes hold: a change from outside is seen by the next traced call."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

import dtrain as dt
from dtrain import nn
from dtrain.capture.contents import content_of


@dataclass(slots=True)
class Slots:
    value: float = 1.0


@dataclass(slots=True)
class MoreSlots(Slots):
    other: float = 1.0


@dataclass
class Mixed(Slots):
    extra: float = 1.0


@dataclass
class Nested:
    inner: Slots = field(default_factory=Slots)


class Options(dict[str, float]):
    """Its items are attributes too."""

    def __init__(self, **items: float) -> None:
        super().__init__(items)
        self.__dict__ = self  # type: ignore[assignment]


class Settings(SimpleNamespace):
    pass


class Rates(list[float]):
    pass


Pair = namedtuple("Pair", ["values", "name"])


def _set(name: str) -> Callable[[Any], None]:
    return lambda held: setattr(held, name, 5.0)


HELD: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "a dataclass with slots": (Slots, lambda held: held.value, _set("value")),
    "slots of a base": (MoreSlots, lambda held: held.value, _set("value")),
    "slots of a derived class": (MoreSlots, lambda held: held.other, _set("other")),
    "slots below a dict": (Mixed, lambda held: held.value, _set("value")),
    "a dict above slots": (Mixed, lambda held: held.extra, _set("extra")),
    "slots in a dataclass": (Nested, lambda held: held.inner.value, lambda held: _set("value")(held.inner)),
    "a namespace of a derived class": (lambda: Settings(value=1.0), lambda held: held.value, _set("value")),
    "parsed arguments": (lambda: Namespace(value=1.0), lambda held: held.value, _set("value")),
    "a dict of a derived class": (
        lambda: Options(value=1.0),
        lambda held: held.value,
        lambda held: held.update(value=5.0),
    ),
    "a counter": (lambda: Counter(value=1), lambda held: held["value"], lambda held: held.update(value=4)),
    "an ordered dict": (
        lambda: OrderedDict(value=1.0),
        lambda held: held["value"],
        lambda held: held.update(value=5.0),
    ),
    "a default dict": (
        lambda: defaultdict(float, value=1.0),
        lambda held: held["value"],
        lambda held: held.update(value=5.0),
    ),
    "a list of a derived class": (lambda: Rates([1.0]), lambda held: held[0], lambda held: held.__setitem__(0, 5.0)),
    "a deque": (lambda: deque([1.0]), lambda held: held[0], lambda held: held.__setitem__(0, 5.0)),
    "a list in a named tuple": (
        lambda: Pair([1.0], "x"),
        lambda held: held[0][0],
        lambda held: held[0].__setitem__(0, 5.0),
    ),
}


@pytest.mark.parametrize("what", HELD)
@pytest.mark.parametrize("way", ["closure", "default", "keyword default", "list", "partial", "attribute"])
def test_what_containers_and_records_hold(what: str, way: str) -> None:
    make, read, change = HELD[what]
    held = make()
    step = dt.trace(_WAYS[way](held, read))
    one = dt.ones(1)
    assert (step(one).item(), step(one).item(), len(step.graphs)) == (1.0, 1.0, 1)
    change(held)
    assert step(one).item() == 5.0


def _by_default(held: Any, read: Callable[[Any], Any]) -> Callable[..., Any]:
    def step(x: Any, kept: Any = (held,)) -> Any:
        return x * read(kept[0])

    return step


def _by_keyword(held: Any, read: Callable[[Any], Any]) -> Callable[..., Any]:
    def step(x: Any, *, kept: Any = {"held": held}) -> Any:  # noqa: B006 (that is the point)
        return x * read(kept["held"])

    return step


def _by_attribute(held: Any, read: Callable[[Any], Any]) -> Callable[..., Any]:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.held = held

        def forward(self, x: Any) -> Any:
            return x * read(self.held)

    return Net()


_WAYS: dict[str, Callable[[Any, Callable[[Any], Any]], Callable[..., Any]]] = {
    "closure": lambda held, read: lambda x: x * read(held),
    "default": _by_default,
    "keyword default": _by_keyword,
    "list": lambda held, read: (lambda functions: lambda x: functions[0](x))([lambda x: x * read(held)]),
    "partial": lambda held, read: functools.partial(lambda kept, x: x * read(kept), held),
    "attribute": _by_attribute,
}


def test_functions_in_containers_and_methods_of_objects_there() -> None:
    rates = {"value": 1.0}

    @dataclass
    class Scale:
        factor: float

        def apply(self, x: Any) -> Any:
            return x * self.factor * rates["value"]

    scale, one = Scale(2.0), dt.ones(1)
    table = {"scale": scale.apply, "more": [functools.partial(lambda x, by: x * by * rates["value"], by=3.0)]}
    step = dt.trace(lambda x: table["scale"](x) + table["more"][0](x))
    assert step(one).item() == 5.0
    rates["value"] = 2.0
    assert step(one).item() == 10.0
    scale.factor = 1.0
    assert step(one).item() == 8.0


def test_classes_that_change() -> None:
    gains = {"value": 2.0}

    class Base(nn.Module):
        bias = 0.0

        def helper(self, x: Any) -> Any:
            return x * 2

        @property
        def gain(self) -> float:
            return gains["value"]

        @staticmethod
        def shift(x: Any) -> Any:
            return x

        @classmethod
        def again(cls, x: Any) -> Any:
            return x

    class Net(Base):
        def forward(self, x: Any) -> Any:
            y = self.again(self.shift(self.helper(x))) * self.gain + self.bias
            return y + self.extra if hasattr(self, "extra") else y

    net, one = Net(), dt.ones(1)
    changes: list[Callable[[], Any]] = [
        lambda: gains.update(value=3.0),
        lambda: setattr(Base, "helper", lambda self, x: x * 3),
        lambda: setattr(Net, "helper", lambda self, x: x * 5),
        lambda: setattr(Base, "gain", property(lambda self: 7.0)),
        lambda: setattr(Base, "shift", staticmethod(lambda x: x + 1)),
        lambda: setattr(Net, "again", classmethod(lambda cls, x: x - 5)),
        lambda: setattr(Base, "bias", 0.5),
        lambda: setattr(Net, "extra", 100.0),
        lambda: setattr(Net, "forward", lambda self, x: self.helper(x)),
    ]
    for number, change in enumerate(changes):
        step = dt.trace(net)
        assert step(one).item() == step(one).item() == net(one).item()
        assert len(step.graphs) == 1
        change()
        assert step(one).item() == net(one).item(), number


def test_content_of_what_is_no_container() -> None:
    values: list[Any] = [1.0, "text", None, dt.ones(1), nn.Linear(1, 1), nn.ModuleList([nn.Identity()]), object()]
    assert [content_of(value) for value in values] == [None] * len(values)
    assert content_of(MappingProxyType({"a": 1})) == ("a", 1)
