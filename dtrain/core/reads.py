"""What a traced function read besides tensors: attributes, containers, globals; and whether all that is as it was.

A change from outside leads to another capture; what the function changes itself happens at the capture only. What is
looked at: attributes of modules and optimizers, however they were reached (through properties, parents, or `vars`); the
globals and closure variables that the traced function names; and the contents of lists, dicts, sets, deques,
namespaces and dataclass instances that these hold; and all this for the functions and methods (`forward`) that are
reached so. Contents of NumPy arrays and attributes of other objects are constants.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dis import get_instructions
from operator import is_
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from dtrain.core.tensor import Tensor
from dtrain.core.watched import Watched, changes

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent"})()
_SEQUENCES = (list, tuple, deque)
_MAPPINGS = (dict, OrderedDict, defaultdict)
_MAX_DEPTH = 8  # of containers in containers; one may hold itself
_SCALARS = (bool, int, float, complex, str, bytes)


class Reads:
    """Collected while a function is captured; `hold()` is asked before every run and must cost next to nothing."""

    def __init__(self) -> None:
        self._attributes: dict[tuple[int, str], tuple[dict[str, Any], type, str, Any]] = {}
        self._names: dict[int, tuple[dict[str, Any], tuple[str, ...]]] = {}  # a __dict__, and names of its members
        self._owners: dict[int, Any] = {}  # kept alive, so that ids stay theirs
        self._contents: dict[int, tuple[Any, tuple[Any, ...]]] = {}  # a container, and what it held
        self._variables: list[tuple[dict[str, Any], tuple[str, ...], tuple[Any, ...]]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._seen = changes.latest
        self._holds = True
        self._looks = True  # whether anything is looked at before every run

    # While capturing ------------------------------------------------------------------------------------------------

    def note_read(self, owner: Watched, name: str, value: Any) -> None:
        """An attribute was read: its value, or for what the class gives (a method) that the instance has none."""
        attributes = object.__getattribute__(owner, "__dict__")
        if name == "__dict__":
            # Whoever walks over all attributes looks for parameters and modules; numbers and texts are no part of it.
            self._owners[id(owner)] = owner
            self._names.setdefault(id(owner), (attributes, _names_of_members(attributes)))
            for key in _names_of_members(attributes):
                self._note(owner, attributes, key, attributes[key])
        elif not name.startswith("__"):
            self._note(owner, attributes, name, _attribute(attributes, type(owner), name))
            if isinstance(value, MethodType):
                self.note_variables(value.__func__)
            elif name not in attributes and not hasattr(type(value), "__get__"):
                self._note_class_attribute(type(owner), name, value)
            else:
                self.note_variables(value)

    def note_missing(self, owner: Watched, name: str) -> None:
        """An attribute was asked for that is not there."""
        self._note(owner, object.__getattribute__(owner, "__dict__"), name, ABSENT)

    def note_variables(self, function: Callable[..., Any]) -> None:
        """The globals and closure variables that a user's function names, and those of the functions among them."""
        if not isinstance(function, FunctionType) or id(function) in self._owners or _is_ours(function):
            return
        self._owners[id(function)] = function
        variables = function.__globals__
        names = dict.fromkeys(name for name in _names_in(function.__code__) if name in variables)
        found = {name: variables[name] for name in names if not isinstance(variables[name], ModuleType | type)}
        if found:
            self._variables.append((variables, tuple(found), tuple(found.values())))
        held = list(found.values())
        for cell in function.__closure__ or ():
            try:
                self._cells.append((cell, cell.cell_contents))
            except ValueError:  # nothing in it yet
                continue
            held.append(cell.cell_contents)
        for value in held:
            self._note_contents(value)
            self.note_variables(value)

    def _note(self, owner: Watched, attributes: dict[str, Any], name: str, value: Any) -> None:
        key = (id(owner), name)
        if key in self._attributes:
            return
        self._owners[id(owner)] = owner
        self._attributes[key] = (attributes, type(owner), name, value)
        if name not in type(owner)._replaced:
            self._note_contents(value)

    def _note_class_attribute(self, kind: type, name: str, value: Any) -> None:
        for base in kind.__mro__:
            if name in vars(base):
                # Setting it on the class is not counted, so those of user classes are looked at every time.
                if not base.__module__.startswith("dtrain."):
                    self._variables.append((vars(base), (name,), (value,)))  # type: ignore[arg-type]
                    self._note_contents(value)
                return

    def _note_contents(self, value: Any) -> None:
        content = _content(value)
        if content is None or id(value) in self._contents:
            return
        if type(value) is not tuple:
            self._contents[id(value)] = (value, content)
        for item in content:
            self._note_contents(item)

    def settle(self) -> None:
        """The capture is over: what it changed itself is not looked at, since every capture changes it."""
        self._attributes = {
            key: (attributes, kind, name, value)
            for key, (attributes, kind, name, value) in self._attributes.items()
            if _is_same(_attribute(attributes, kind, name), value)
        }
        self._names = {
            key: (held, names) for key, (held, names) in self._names.items() if _names_of_members(held) == names
        }
        self._contents = {
            key: (container, content)
            for key, (container, content) in self._contents.items()
            if _same_items(_content(container) or (), content)
        }
        self._variables = [
            (variables, tuple(kept), tuple(kept.values()))
            for variables, names, values in self._variables
            if (kept := {n: v for n, v in zip(names, values) if _is_same(variables.get(n, ABSENT), v)})
        ]
        self._cells = [(cell, value) for cell, value in self._cells if _is_same(cell.cell_contents, value)]
        self._looks = bool(self._variables or self._cells or self._contents)
        self._seen = changes.latest

    # Before every run -----------------------------------------------------------------------------------------------

    def hold(self) -> bool:
        """Whether everything that was read is as it was."""
        latest = changes.latest
        if latest != self._seen:
            self._holds = self._attributes_hold()
            self._seen = latest
        return self._holds and (not self._looks or self._variables_hold())

    def _attributes_hold(self) -> bool:
        return all(
            _is_same(_attribute(attributes, kind, name), value)
            for attributes, kind, name, value in self._attributes.values()
        ) and all(_names_of_members(attributes) == names for attributes, names in self._names.values())

    def _variables_hold(self) -> bool:
        for variables, names, values in self._variables:
            if not all(map(is_, map(variables.get, names), values)) and not _same_items(
                [variables.get(name, ABSENT) for name in names], values
            ):
                return False
        for cell, value in self._cells:
            if cell.cell_contents is not value and not _is_same(cell.cell_contents, value):
                return False
        for container, content in self._contents.values():
            present = container if type(container) is list else _content(container)
            if present is None or not _same_items(present, content):
                return False
        return True


def _attribute(attributes: dict[str, Any], kind: type, name: str) -> Any:
    """What an object with these attributes has under this name: its own, else the class's (a property as such)."""
    return attributes[name] if name in attributes else getattr(kind, name, ABSENT)


def _names_in(code: CodeType) -> Iterator[str]:
    """Names of globals that a function and the functions written inside it read; names after a dot are none."""
    for instruction in get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _is_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] in ("dtrain", "numpy")


def _names_of_members(attributes: dict[str, Any]) -> tuple[str, ...]:
    """The attributes that hold tensors or modules, directly or in containers."""
    return tuple([name for name, value in attributes.items() if _has_members(value)])


def _has_members(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Tensor | Watched):
        return True
    return depth < _MAX_DEPTH and any(_has_members(item, depth + 1) for item in _content(value) or ())


def _content(value: Any) -> tuple[Any, ...] | None:
    """What a container holds now, flat; None for anything else."""
    kind = type(value)
    if kind in _SEQUENCES:
        return tuple(value)
    if kind in _MAPPINGS:
        return (*value.keys(), *value.values())
    if kind in (set, frozenset):
        return tuple(value)
    if kind in (SimpleNamespace, Namespace) or (dataclasses.is_dataclass(kind) and hasattr(value, "__dict__")):
        attributes = vars(value)
        return (*attributes.keys(), *attributes.values())
    return None


def _same_items(present: Iterable[Any], before: tuple[Any, ...]) -> bool:
    items = present if isinstance(present, list | tuple) else tuple(present)
    if len(items) != len(before):
        return False
    return all(map(is_, items, before)) or all(map(_is_same, items, before))


def _is_same(present: Any, before: Any) -> bool:
    """Whether both would be captured alike: one object, or equal numbers or texts of one type, or tuples of such."""
    if present is before:
        return True
    kind = type(before)
    if type(present) is not kind:
        return False
    if kind is float:
        return bool(present.hex() == before.hex())  # 0.0 is not −0.0, and NaN is NaN
    if kind is tuple:
        return _same_items(present, before)
    return kind in _SCALARS and bool(present == before)
