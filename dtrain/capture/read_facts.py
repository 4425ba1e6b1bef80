"""What a capture found when it read attributes, variables and containers, and whether all that is as it was."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from operator import is_
from types import CellType, FunctionType
from typing import Any

from dtrain.capture.contents import ABSENT, content_of, is_same, names_of_members, same_items
from dtrain.capture.watched import changes


class ReadFacts:
    """`hold()` is asked before every run and must cost next to nothing; `changed()` says what does not hold."""

    def __init__(self) -> None:
        # Attributes of watched objects, whose changes are counted: (the __dict__, the class, name, value).
        self.attributes: list[tuple[dict[str, Any], type, str, Any]] = []
        self.members: list[tuple[dict[str, Any], tuple[str, ...]]] = []  # names that hold tensors or modules
        # All others are looked at every time.
        self.variables: list[tuple[Mapping[str, Any], tuple[str, ...], tuple[Any, ...]]] = []
        self.labels: list[str] = []  # whose the variables are
        self.keys: list[tuple[Mapping[str, Any], tuple[str, ...]]] = []  # of what was read as a whole
        self.cells: list[tuple[CellType, Any]] = []
        self.defaults: list[tuple[FunctionType, Any, Any]] = []
        self.contents: list[tuple[Any, tuple[Any, ...]]] = []  # a container, and what it held

    def begin(self) -> None:
        """All of it holds now."""
        self._looks = bool(self.variables or self.cells or self.contents or self.defaults or self.keys)
        self._holds, self._seen = True, changes.latest

    def hold(self) -> bool:
        """Whether everything that was read is as it was."""
        latest = changes.latest
        if latest != self._seen:
            self._holds = self._attributes_hold()
            self._seen = latest
        return self._holds and (not self._looks or self._variables_hold())

    def _attributes_hold(self) -> bool:
        return all(
            is_same(attribute_of(attributes, kind, name), value) for attributes, kind, name, value in self.attributes
        ) and all(names_of_members(attributes) == names for attributes, names in self.members)

    def _variables_hold(self) -> bool:
        for variables, names, values in self.variables:
            if not all(map(is_, map(variables.get, names, repeat(ABSENT)), values)) and not same_items(
                [variables.get(name, ABSENT) for name in names], values
            ):
                return False
        for attributes, keys in self.keys:
            if tuple(attributes) != keys:
                return False
        for cell, value in self.cells:
            if cell.cell_contents is not value and not is_same(cell.cell_contents, value):
                return False
        for function, defaults, keyword_defaults in self.defaults:
            if function.__defaults__ is not defaults or function.__kwdefaults__ is not keyword_defaults:
                return False
        for container, content in self.contents:
            present = container if type(container) is list else content_of(container)
            if present is None or not same_items(present, content):
                return False
        return True

    def changed(self) -> str:
        """Something that is not as it was, for people; nothing if all is."""
        for attributes, kind, name, value in self.attributes:
            if not is_same(attribute_of(attributes, kind, name), value):
                return f"{kind.__name__}.{name}"
        for label, (variables, names, values) in zip(self.labels, self.variables):
            for name, value in zip(names, values):
                if not is_same(variables.get(name, ABSENT), value):
                    return label + name
        for container, content in self.contents:
            if not same_items(content_of(container) or (), content):
                return f"what a {type(container).__name__} holds"
        return "" if self.hold() else "a closure variable, a default, or which attributes an object has"


def attribute_of(attributes: dict[str, Any], kind: type, name: str) -> Any:
    """What an object with these attributes has under this name: its own, else the class's (a property as such)."""
    return attributes[name] if name in attributes else getattr(kind, name, ABSENT)
