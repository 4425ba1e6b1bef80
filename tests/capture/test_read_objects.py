"""What a traced function reads of plain objects, and by names that are texts: a change leads to another capture."""

from __future__ import annotations

import collections
import copy
import functools
import operator
import threading
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn

FACTOR = 2.0
VARIABLE: ContextVar[float] = ContextVar("VARIABLE", default=2.0)


class Plain:
    def __init__(self) -> None:
        self.factor = 2.0
        self.count = 0

    def scaled(self, y: Any) -> Any:
        return y * self.factor

    @property
    def doubled(self) -> float:
        return self.factor * 2

    @functools.cached_property
    def kept(self) -> float:
        return self.factor

    @staticmethod
    def by_global(y: Any) -> Any:
        return y * FACTOR


class Slots:
    __slots__ = ("factor", "missing")

    def __init__(self) -> None:
        self.factor = 2.0


class MoreSlots(Slots):
    __slots__ = ("more",)


class ByGetattr:
    """As configurations of many libraries: attributes are entries of a dict."""

    def __init__(self) -> None:
        self.__dict__["entries"] = {"factor": 2.0}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["entries"][name]
        except KeyError:
            raise AttributeError(name) from None


class OwnLookup(Plain):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__("factor" if name == "alias" else name)


class Refusing(type):
    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError("this class stays as it is")


class OfRefusing(metaclass=Refusing):
    def __init__(self) -> None:
        self.factor = 2.0


class ClassNumbers:
    factor = 2.0


class Kept:
    """Its only object is made when it is asked for, which may be in a capture."""

    only: Any = None

    def __init__(self) -> None:
        self.factor = 2.0

    @classmethod
    def get(cls) -> Kept:
        if cls.only is None:
            cls.only = cls()
        return cls.only  # type: ignore[no-any-return]


@functools.cache
def kept_by_a_function() -> Plain:
    return Plain()


class Net(nn.Module):
    def __init__(self) -> None:
        self.factor = 2.0
        self.plain = Plain()
        self.numbers = ClassNumbers
        self.library = ModuleType("some_library")
        exec("factor = 2.0\ndef scaled(y):\n    return y * factor\n", vars(self.library))
        self.name = "scaled"


def scaled_by_attribute(y: Any) -> Any:
    return y * scaled_by_attribute.factor  # type: ignore[attr-defined]


def change(owner: Any, name: str = "factor", value: Any = 3.0) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def cases() -> dict[str, tuple[Callable[..., Any], Callable[[], Any]]]:
    net, plain, slots, entries, own = Net(), Plain(), MoreSlots(), ByGetattr(), OwnLookup()
    of_refusing, inner, local = OfRefusing(), Plain(), threading.local()
    inner.rows = [Plain()]  # type: ignore[attr-defined]
    local.factor = 2.0
    users, chained = collections.UserDict(factor=2.0), collections.ChainMap({"factor": 2.0})
    reference, getter, alias = weakref.ref(net), operator.attrgetter("factor"), ClassNumbers
    scaled_by_attribute.factor = 2.0  # type: ignore[attr-defined]
    return {
        # All attributes at once, of modules and plain objects.
        "vars(module).get": (lambda y: y * vars(net).get("factor"), change(net)),
        "module.__dict__": (lambda y: y * net.__dict__["factor"], change(net)),
        "module.__dict__, set there": (
            lambda y: y * vars(net)["factor"],
            lambda: vars(net).update(factor=3.0),
        ),
        "a name in vars(module)": (
            lambda y: y * (3.0 if "absent" in vars(net) else 2.0),
            change(net, "absent"),
        ),
        "numbers of vars(module)": (
            lambda y: y * sum(number for number in vars(net).values() if isinstance(number, float)),
            change(net),
        ),
        "a copy of a module": (lambda y: y * copy.copy(net).factor, change(net)),
        "vars(object)": (lambda y: y * vars(plain)["factor"], change(plain)),
        "a copy of an object": (lambda y: y * copy.copy(plain).factor, change(plain)),
        # By names that are computed.
        "getattr of a module": (lambda y: y * getattr(net, "fac" + "tor"), change(net)),
        "attrgetter": (lambda y: y * getter(net), change(net)),
        "getattr of an object": (lambda y: y * getattr(plain, "fac" + "tor"), change(plain)),
        "getattr with a default": (lambda y: y * getattr(slots, "missing", 2.0), change(slots, "missing")),
        "hasattr": (lambda y: y * (3.0 if hasattr(plain, "absent") else 2.0), change(plain, "absent")),
        "getattr of a Python module": (lambda y: y * getattr(net.library, "fac" + "tor"), change(net.library)),
        "a function of a Python module by a computed name": (
            lambda y: getattr(net.library, net.name)(y),
            change(net.library),
        ),
        "vars of a class": (lambda y: y * vars(ClassNumbers)["factor"], change(ClassNumbers)),
        "getattr of a class": (lambda y: y * getattr(ClassNumbers, "factor"), change(ClassNumbers)),  # noqa: B009
        # Objects of all kinds.
        "an object": (lambda y: y * plain.factor, change(plain)),
        "a method": (lambda y: plain.scaled(y), change(plain)),
        "a property": (lambda y: y * plain.doubled, change(plain)),
        "an object that a module holds": (lambda y: y * net.plain.factor, change(net.plain)),
        "an object in a list of an object": (
            lambda y: y * inner.rows[0].factor,  # type: ignore[attr-defined]
            change(inner.rows[0]),  # type: ignore[attr-defined]
        ),
        "slots": (lambda y: y * slots.factor, change(slots)),
        "__getattr__": (lambda y: y * entries.factor, lambda: vars(entries)["entries"].update(factor=3.0)),
        "__getattribute__": (lambda y: y * own.alias, change(own)),  # type: ignore[attr-defined]
        "a class whose metaclass refuses": (lambda y: y * of_refusing.factor, change(of_refusing)),
        "a method set on the object": (lambda y: plain.scaled(y), change(plain, "scaled", lambda y: y * 3.0)),
        "a class that a module holds": (lambda y: y * net.numbers.factor, change(ClassNumbers)),
        "another name of a class": (lambda y: y * (lambda c: c.factor)(alias), change(ClassNumbers)),
        "a Python module that a module holds": (lambda y: y * net.library.factor, change(net.library)),
        "an attribute of a function": (scaled_by_attribute, change(scaled_by_attribute)),
        "an object that a class keeps": (lambda y: y * Kept.get().factor, lambda: change(Kept.get())()),
        "an object that a cached function keeps": (
            lambda y: y * kept_by_a_function().factor,
            lambda: change(kept_by_a_function())(),
        ),
        "a weak reference": (lambda y: y * reference().factor, change(net)),  # type: ignore[union-attr]
        "a context variable": (lambda y: y * VARIABLE.get(), lambda: VARIABLE.set(3.0)),
        "attributes of a thread": (lambda y: y * local.factor, change(local)),
        "a UserDict": (lambda y: y * users["factor"], lambda: users.update(factor=3.0)),
        "a ChainMap": (lambda y: y * chained["factor"], lambda: chained.update(factor=3.0)),
    }


@pytest.fixture(autouse=True)
def numbers_as_before() -> Any:
    token = VARIABLE.set(2.0)
    yield
    VARIABLE.reset(token)
    ClassNumbers.factor = 2.0
    Kept.only = None
    kept_by_a_function.cache_clear()


def expect_another_capture(function: Callable[..., Any], change: Callable[[], Any], *others: Any) -> None:
    traced, x = dt.trace(function), dt.tensor([1.0, 2.0])
    before = traced(x, *others)
    traced(x, *others)
    assert len(traced.graphs) == 1
    change()
    after, wanted = traced(x, *others), function(x, *others)
    assert before.tolist() != wanted.tolist(), "the change changes nothing"
    assert after.tolist() == wanted.tolist()
    assert len(traced.graphs) == 2


@pytest.mark.parametrize("what", cases())
def test_a_change_is_seen(what: str) -> None:
    function, change = cases()[what]
    expect_another_capture(function, change)


@pytest.mark.parametrize("way", ["globals()", "get", "absent", "eval", "in"])
def test_globals_by_name(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions: Mapping[str, Callable[..., Any]] = {
        "globals()": lambda y: y * globals()["FACTOR"],
        "get": lambda y: y * globals().get("FACTOR"),
        "absent": lambda y: y * globals().get("NOT_THERE_YET", 2.0),
        "eval": lambda y: y * eval("FACTOR + 0"),
        "in": lambda y: y * (3.0 if "NOT_THERE_YET" in globals() else 2.0),
    }
    name = "NOT_THERE_YET" if way in ("absent", "in") else "FACTOR"
    expect_another_capture(functions[way], lambda: monkeypatch.setitem(globals(), name, 3.0))


def test_arguments_that_are_objects_classes_and_python_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(y: Any, owner: Any) -> Any:
        return y * owner.factor

    plain, library = Plain(), Net().library
    for owner in (plain, library, ClassNumbers):
        expect_another_capture(scaled, lambda owner=owner: monkeypatch.setattr(owner, "factor", 3.0), owner)
    expect_another_capture(
        lambda y, owner: owner.by_global(y), lambda: monkeypatch.setitem(globals(), "FACTOR", 3.0), Plain
    )


def test_what_is_not_read_or_is_changed_inside_captures_nothing_again() -> None:
    class Trainer(Plain):
        @dt.trace
        def step(self, y: Any) -> Any:
            self.steps = getattr(self, "steps", 0) + 1
            self.latest = y * self.kept
            return self.latest

    trainer, x = Trainer(), dt.tensor([1.0])
    for count in range(4):
        trainer.count = count
        assert trainer.step(x).tolist() == [2.0]
    assert Trainer.step.graphs and len(Trainer.step.graphs) == 1


def test_classes_and_modules_are_as_before_once_nobody_captures() -> None:
    plain, own, library, seen = Plain(), OwnLookup(), Net().library, []

    def function(y: Any) -> Any:
        seen.append("__getattribute__" in vars(Plain) and type(library) is not ModuleType)
        if seen[1:]:
            raise KeyError("fails in the capture")
        return y * plain.factor * own.alias * library.factor  # type: ignore[attr-defined]

    lookup = vars(OwnLookup)["__getattribute__"]
    traced = dt.trace(function)
    traced(dt.tensor([1.0]))
    with pytest.raises(KeyError):
        traced(dt.tensor([1.0, 2.0]))
    assert seen == [True, True]
    assert "__getattribute__" not in vars(Plain) and type(library) is ModuleType
    assert vars(OwnLookup)["__getattribute__"] is lookup


@pytest.mark.filterwarnings("ignore:traced function")
def test_ranks_that_are_threads_capture_at_once() -> None:
    wrong: list[Any] = []

    def run(rank: int) -> None:
        plain, x = Plain(), dt.tensor([1.0 + rank])
        traced = dt.trace(lambda y: plain.scaled(y))
        for number in range(12):
            plain.factor = float(number)
            if traced(x).tolist() != [(1.0 + rank) * number]:
                wrong.append((rank, number))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and "__getattribute__" not in vars(Plain)


def test_a_slice_is_an_argument() -> None:
    @dt.trace
    def part(y: Any, where: Any) -> Any:
        return y[where]

    x = dt.tensor(np.arange(6.0))
    for where in (slice(1, 3), slice(None, None, 2), slice(1, 3), slice(0, True)):
        assert part(x, where).tolist() == np.arange(6.0)[where].tolist()
    assert len(part.graphs) == 3
    at = dt.trace(lambda y, where: (y[where[0]], where[0]))
    assert at(x, (slice(4, None),))[0].tolist() == [4.0, 5.0]
    assert at(x, (slice(4, None),))[1] == slice(4, None)


def test_a_warning_names_what_changes_at_every_call() -> None:
    plain, net, held, numbers = Plain(), Net(), dt.tensor([0.0]), np.float64(2.0)
    cases: dict[str, tuple[Callable[..., Any], Callable[[int], Any]]] = {
        r"Plain\.factor": (lambda y: y * plain.factor, lambda i: setattr(plain, "factor", float(i))),
        r"Net\.factor": (lambda y: y * net.factor, lambda i: setattr(net, "factor", float(i))),
        r"ClassNumbers\.factor": (
            lambda y: y * ClassNumbers.factor,
            lambda i: setattr(ClassNumbers, "factor", float(i)),
        ),
        r"the numbers taken out of f32\[1\]@cpu": (
            lambda y: y * held.item(),
            lambda i: held.assign_(dt.tensor([float(i)])),
        ),
    }
    for what, (function, change) in cases.items():
        traced = dt.trace(function)
        with pytest.warns(UserWarning, match=rf"captured 8 times .* changes at every call \({what}\)"):
            for number in range(10):
                change(number)
                traced(dt.tensor([1.0]))
    # Equal numbers are no change, NumPy's as little as Python's.
    traced = dt.trace(lambda y: y * float(plain.factor))
    for _ in range(3):
        plain.factor = np.float64(numbers)
        traced(dt.tensor([1.0]))
    assert len(traced.graphs) == 1
