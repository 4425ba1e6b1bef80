"""What a traced function read besides tensors: attributes, containers, globals. `read_facts.py` compares it later.

A change from outside leads to another capture; what the function changes itself happens at the capture only. What is
looked at: attributes of modules, optimizers and plain objects and of their classes, however they were reached (through
properties, parents, by names that are computed, or all together by `vars`); the globals, closure variables and defaults
that the traced function names, and what it reads by dots from modules and classes (`code_names.py`); its arguments;
what containers, namespaces and dataclass instances among these hold (`contents.py`); and all this for the functions,
methods (`forward`) and hooks that are reached so. Contents of NumPy arrays are constants.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

from dtrain.base.user_source import is_ours
from dtrain.capture.code_names import attributes_in, globals_in, is_users, names_after_dots
from dtrain.capture.contents import ABSENT, content_of, is_same, names_of_members, own_attributes, same_items
from dtrain.capture.read_facts import ReadFacts, attribute_of
from dtrain.capture.watched import Watched, has_own_lookup, report_reads_of, report_reads_of_module
from dtrain.core.handle import Registration
from dtrain.core.tensor import Tensor

# Reading one of these is reading all attributes: `vars(x)`, a copy, a pickle.
_ALL_ATTRIBUTES = ("__dict__", "__getstate__", "__reduce_ex__")
_Cached = type(cache(len))
_CALLED = ("__call__", "__getitem__", "__iter__", "__len__", "__bool__", "__enter__", "__exit__")


class Reads:
    """Collected while a function is captured."""

    def __init__(self) -> None:
        self._attributes: dict[tuple[int, str], tuple[dict[str, Any], type, str, Any]] = {}
        self._names: dict[int, tuple[dict[str, Any], tuple[str, ...]]] = {}  # a __dict__, and names of its members
        self._owners: dict[int, Any] = {}  # kept alive, so that ids stay theirs
        self._contents: dict[int, tuple[Any, tuple[Any, ...]]] = {}  # a container, and what it held
        self._variables: list[tuple[Mapping[str, Any], tuple[str, ...], tuple[Any, ...]]] = []
        # Attributes that nobody counts changes of (of classes, modules and plain objects), and what was read there.
        self._namespaces: dict[int, tuple[Mapping[str, Any], dict[str, Any]]] = {}
        self._keys: dict[int, tuple[Mapping[str, Any], tuple[str, ...]]] = {}  # of what was read as a whole
        self._class_names: set[tuple[int, str]] = set()  # of a class -> names that were looked for
        self._classes: dict[type, None] = {}  # classes that were reached as values
        self._dotted: set[str] = set()  # every name that a function reads by a dot
        self._defaults: list[tuple[FunctionType, Any, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self.tensors: dict[Tensor, None] = {}  # that the function reaches, in order

    def note_read(self, owner: Watched, name: str, value: Any) -> None:
        """An attribute was read: its value, or for what the class gives (a method) that the instance has none."""
        attributes = object.__getattribute__(owner, "__dict__")
        if name in _ALL_ATTRIBUTES and not _is_asked_by_us():
            self._note_all(owner, attributes)
        elif name == "__dict__":
            # Whoever walks over all attributes looks for parameters and modules; numbers and texts are no part of it.
            self._owners[id(owner)] = owner
            self._names.setdefault(id(owner), (attributes, names_of_members(attributes)))
            for key in names_of_members(attributes):
                self._note(owner, attributes, key, attributes[key])
        elif not name.startswith("__"):
            self._note(owner, attributes, name, attribute_of(attributes, type(owner), name))
            if name not in attributes:
                self._note_class_attribute(type(owner), name)
            if name not in type(owner)._replaced:
                self.note_value(value)

    def note_object_read(self, owner: Any, name: str) -> None:
        """An attribute of an object of a user's class is about to be read."""
        if name.startswith("__"):
            if name in _ALL_ATTRIBUTES and not _is_asked_by_us():
                self._note_all(owner, own_attributes(owner))
            return
        value = own_attributes(owner).get(name, ABSENT)
        self._note_in_namespace(owner, own_attributes(owner), name, value)
        if value is ABSENT:
            self._note_class_names(type(owner), (name,))
        else:
            self.note_value(value)

    def _note_all(self, owner: Any, attributes: Mapping[str, Any]) -> None:
        """All attributes were read, by who may also set them past the counting of changes."""
        self._owners[id(owner)] = owner
        self._keys.setdefault(id(owner), (attributes, tuple(attributes)))
        for name, value in list(attributes.items()):
            self._note_in_namespace(owner, attributes, name, value)
            if name not in getattr(type(owner), "_replaced", ()):
                self.note_value(value)

    def note_missing(self, owner: Watched, name: str) -> None:
        """An attribute was asked for that is not there."""
        self._note(owner, object.__getattribute__(owner, "__dict__"), name, ABSENT)
        self._note_class_attribute(type(owner), name)

    def _note_variables(self, function: FunctionType) -> None:
        """The globals and closure variables that a user's function names, its defaults, and what all these hold."""
        if id(function) in self._owners or _is_ours(function):
            return
        self._owners[id(function)] = function
        variables = function.__globals__
        found = {name: variables.get(name, ABSENT) for name in globals_in(function)}
        if found:
            self._variables.append((variables, tuple(found), tuple(found.values())))
        held = list(found.values())
        for cell in function.__closure__ or ():
            try:
                self._cells.append((cell, cell.cell_contents))
            except ValueError:  # nothing in it yet
                continue
            held.append(cell.cell_contents)
        held += function.__defaults__ or ()
        if function.__defaults__ or function.__kwdefaults__:
            self._defaults.append((function, function.__defaults__, function.__kwdefaults__))
            held.append(function.__kwdefaults__)
        for value in held:
            self.note_value(value)
        for owner, name in attributes_in(function):
            self._note_dotted(owner, name)
        names = names_after_dots(function.__code__) - self._dotted
        self._dotted |= names
        for kind in list(self._classes):
            self._note_class_names(kind, names)

    def _note_class(self, kind: type) -> None:
        """A class as a value: what code reads of it may be anything that it reads by a dot."""
        if kind not in self._classes and is_users(kind):
            self._classes[kind] = None
            self._note_class_names(kind, tuple(self._dotted))
            if not issubclass(kind, Tensor | Watched):
                report_reads_of(kind)  # objects that the function makes, or that a method of the class keeps

    def note_module_read(self, owner: ModuleType, name: str) -> None:
        """An attribute of a module of users is about to be read."""
        if not name.startswith("__"):
            self._note_dotted(owner, name)

    def _note_dotted(self, owner: Any, name: str) -> None:
        """What a function reads from a module, from a class, or from what the class of an object has."""
        if isinstance(owner, ModuleType):
            if is_users(owner):
                self._note_variable(owner, name)
        elif isinstance(owner, FunctionType):
            if not name.startswith("__") and not _is_ours(owner):
                self._note_variable(owner, name)
        elif not isinstance(owner, Watched):  # whose reads are reported
            self._note_class_names(owner if isinstance(owner, type) else type(owner), (name,))

    def _note_variable(self, owner: ModuleType | FunctionType, name: str) -> None:
        value = vars(owner).get(name, ABSENT)
        self._note_in_namespace(owner, vars(owner), name, value)
        self.note_value(value)

    def note_arguments(self, function: Any, values: Iterable[Any]) -> None:
        """What a traced function is given besides tensors, and the methods that it calls on these."""
        self.note_value(function)
        for value in values:
            self.note_value(value)
            if isinstance(function, FunctionType):
                self._note_class_names(type(value), names_after_dots(function.__code__))

    def note_methods(self, owner: Any, names: Iterable[str]) -> None:
        """Methods of an object that are called by us."""
        self.note_class(type(owner), names)

    def note_class(self, kind: type, names: Iterable[str]) -> None:
        """Methods of a class that are called by us."""
        self._note_class_names(kind, names)

    def _note_class_names(self, kind: type, names: Iterable[str]) -> None:
        """What users' classes that an object is of have under these names, and what their code names in turn.

        Code says which names it reads by a dot, but not from what: those that the class has are meant.
        """
        bases = [base for base in kind.__mro__ if is_users(base)]
        for name in names if bases else ():
            if (id(kind), name) in self._class_names or (name.startswith("__") and name not in _CALLED):
                continue
            self._class_names.add((id(kind), name))
            self._owners[id(kind)] = kind
            found = [vars(base).get(name, ABSENT) for base in bases]
            if all(held is ABSENT for held in found):
                continue
            for base, held in zip(bases, found):
                self._note_in_namespace(base, vars(base), name, held)
                self.note_value(held)
                if (function := _function_of(held)) is not None:
                    self._note_class_names(kind, names_after_dots(function.__code__))

    def _note_in_namespace(self, owner: Any, attributes: Mapping[str, Any], name: str, value: Any) -> None:
        """Nobody counts what is set on a class, a module or a plain object: it is looked at every time."""
        self._owners[id(owner)] = owner
        self._namespaces.setdefault(id(owner), (attributes, {}))[1].setdefault(name, value)

    def _note(self, owner: Watched, attributes: dict[str, Any], name: str, value: Any) -> None:
        key = (id(owner), name)
        if key in self._attributes:
            return
        self._owners[id(owner)] = owner
        self._attributes[key] = (attributes, type(owner), name, value)
        if name not in type(owner)._replaced:
            self.note_value(value)

    def _note_class_attribute(self, kind: type, name: str) -> None:
        """What the classes of an object have under this name: a method, a number, a property."""
        for base in kind.__mro__:
            if base.__module__.startswith("dtrain."):
                return
            # Also in those that do not have it, since they may get it.
            held = vars(base).get(name, ABSENT)
            self._note_in_namespace(base, vars(base), name, held)
            if held is not ABSENT:
                self.note_value(held)
                if (function := _function_of(held)) is not None:
                    self._note_class_names(kind, (name, *names_after_dots(function.__code__)))
                return

    def note_value(self, value: Any) -> None:
        """Something that the function reaches: what a container holds, or what a function names."""
        if isinstance(value, FunctionType):
            self._note_variables(value)
        elif isinstance(value, MethodType):
            self.note_value(value.__self__)
            self.note_value(value.__func__)
            if isinstance(value.__func__, FunctionType):
                self._note_class_names(type(value.__self__), names_after_dots(value.__func__.__code__))
        elif isinstance(value, property):
            self.note_value(value.fget)
        elif isinstance(value, staticmethod | classmethod):
            self.note_value(value.__func__)
        elif isinstance(value, cached_property):
            self.note_value(value.func)
        elif isinstance(value, Registration):
            self.note_value(value.hook)
        elif isinstance(value, _Cached):
            self.note_value(value.__wrapped__)
        elif isinstance(value, ref):
            self.note_value(value())
        elif isinstance(value, type):
            self._note_class(value)
        elif isinstance(value, ModuleType):
            if is_users(value):
                report_reads_of_module(value)
        else:
            if isinstance(value, Tensor):
                self.tensors[value] = None
            self._note_contents(value)
            if not isinstance(value, Watched):
                self._note_object(value)

    def _note_object(self, value: Any) -> None:
        """An object of any class: one of a user's class tells from now on what is read of it."""
        kind = type(value)
        self._note_class_names(kind, _CALLED)
        if is_users(kind) and not isinstance(value, Tensor) and content_of(value) is None:
            report_reads_of(kind)
            if has_own_lookup(kind):
                self._note_all(value, own_attributes(value))

    def _note_contents(self, value: Any) -> None:
        content = content_of(value)
        if content is None or id(value) in self._contents:
            return
        if type(value) is not tuple:
            self._contents[id(value)] = (value, content)
        for item in content:
            self.note_value(item)

    def watched(self) -> list[Watched]:
        """The modules and optimizers that were read, in order."""
        return [owner for owner in self._owners.values() if isinstance(owner, Watched)]

    def settle(self) -> ReadFacts:
        """The capture is over: what must hold from now on. What it changed itself is left out: every capture does."""
        facts = ReadFacts()
        facts.attributes = [
            read for read in self._attributes.values() if is_same(attribute_of(read[0], read[1], read[2]), read[3])
        ]
        facts.members = [(held, names) for held, names in self._names.values() if names_of_members(held) == names]
        facts.contents = [
            (container, content)
            for container, content in self._contents.values()
            if same_items(content_of(container) or (), content)
        ]
        facts.keys = [(held, names) for held, names in self._keys.values() if tuple(held) == names]
        for label, held, found in (
            *(("", variables, dict(zip(names, values))) for variables, names, values in self._variables),
            *((_label(self._owners[key]), held, found) for key, (held, found) in self._namespaces.items()),
        ):
            kept = {name: value for name, value in found.items() if is_same(held.get(name, ABSENT), value)}
            if kept:
                facts.variables.append((held, tuple(kept), tuple(kept.values())))
                facts.labels.append(label)
        facts.cells = [(cell, value) for cell, value in self._cells if is_same(cell.cell_contents, value)]
        facts.defaults = self._defaults
        facts.begin()
        return facts


def _label(owner: Any) -> str:
    named = owner if isinstance(owner, type | ModuleType | FunctionType) else type(owner)
    return f"{named.__name__}."


def _function_of(held: Any) -> FunctionType | None:
    """The function behind what a class has under a name."""
    if isinstance(held, property):
        held = held.fget
    elif isinstance(held, staticmethod | classmethod):
        held = held.__func__
    elif isinstance(held, cached_property):
        held = held.func
    return held if isinstance(held, FunctionType) else None


def _is_asked_by_us() -> bool:
    """Whether the code that reads the attribute just reported is ours, or a `cached_property` that looks for itself."""
    frame = sys._getframe(3)
    return is_ours(frame) or frame.f_globals.get("__name__") == "functools"


def _is_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] in ("dtrain", "numpy")
