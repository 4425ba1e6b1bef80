"""Exchange modules of a tree for others, wherever they hang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.capture.watched import changes
from dtrain.nn.module import Module


def replace_modules(root: Module, replace: Callable[[Module], Module | None]) -> None:
    """Put `replace(module)`, unless None, in the place of every module below `root`, also in lists, tuples and dicts.

    A module that is shared stays shared. What is put in is not searched.
    """
    replaced: dict[Module, Module | None] = {}
    visited: set[Module] = set()

    def visit(value: Any) -> Any:
        if isinstance(value, Module):
            if value not in replaced:
                replaced[value] = replace(value)
            new = replaced[value]
            if new is None:
                walk(value)
            return value if new is None else new
        if isinstance(value, list):
            value[:] = [visit(item) for item in value]
        elif isinstance(value, dict):
            value.update({key: visit(item) for key, item in value.items()})
        elif type(value) is tuple:
            return tuple(visit(item) for item in value)
        return value

    def walk(module: Module) -> None:
        if module in visited:
            return
        visited.add(module)
        for name, value in list(vars(module).items()):
            new = visit(value)
            if new is not value and not (isinstance(value, tuple) and all(a is b for a, b in zip(new, value))):
                setattr(module, name, new)

    walk(root)
    changes.note()  # lists and dicts have changed in place
