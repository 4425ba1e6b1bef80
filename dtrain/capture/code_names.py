"""What the code of a function names, without running it: globals, and what it reads by dots from what these are.

`helpers.scale(x)` names a variable of the module `helpers`, `Config.rate` one of a class, `model.head(x)` a method. So
do names written as texts: `getattr(helpers, "scale")`, `vars(Config)["rate"]`, `globals()["SCALE"]`.
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dis import get_instructions
from functools import lru_cache
from inspect import getattr_static
from types import CodeType, FunctionType, ModuleType
from typing import Any

from dtrain.capture.watched import Watched

NOTHING: Any = type("Nothing", (), {"__repr__": lambda self: "nothing"})()
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_CELL = ("LOAD_DEREF", "LOAD_CLASSDEREF")
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
# Scripts are called `test`, too.
_OTHERS = frozenset(["dtrain", "numpy", "builtins", *sys.stdlib_module_names]) - {"test"}
# What reads attributes by names that are texts, and what reads globals so.
_BY_TEXT = frozenset(["getattr", "hasattr", "attrgetter", "vars", "__dict__"])
_GLOBALS_BY_TEXT = frozenset(["globals", "eval", "exec"])
_LONGEST_TEXT = 200  # a longer one is prose
_KINDS = {**dict.fromkeys(_GLOBAL, "global"), **dict.fromkeys(_CELL, "cell"), "IMPORT_NAME": "module"}


def is_users(place: Any) -> bool:
    """Whether a module, a class or a function is neither ours nor of Python's and NumPy's."""
    name = place.__name__ if isinstance(place, ModuleType) else getattr(place, "__module__", None)
    return (name or "").partition(".")[0] not in _OTHERS


def globals_in(function: FunctionType) -> list[str]:
    """Names of globals that a function and the functions written inside it read, also of those not there yet."""
    known = function.__globals__
    names = dict.fromkeys(link[0][1] for link in _chains(function.__code__) if link[0][0] == "global")
    if not _GLOBALS_BY_TEXT.isdisjoint(names_after_dots(function.__code__)):
        names |= dict.fromkeys(_names_in_texts(function.__code__, function.__doc__))
    return [name for name in names if name in known or not hasattr(builtins, name)]


def attributes_in(function: FunctionType) -> Iterator[tuple[Any, str]]:
    """(owner, name) for what is read by dots from globals, closure variables, and modules imported inside."""
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or ()))
    is_by_text = not _BY_TEXT.isdisjoint(names_after_dots(code))
    texts = _names_in_texts(code, function.__doc__) if is_by_text else ()
    for (kind, first), *names in _chains(code):
        if kind == "global":
            owner = function.__globals__.get(first, NOTHING)
        elif kind == "module":
            owner = sys.modules.get(first, NOTHING)
        else:
            try:
                owner = cells[first].cell_contents if first in cells else NOTHING
            except ValueError:  # nothing in it yet
                owner = NOTHING
        for name in names:
            if owner is NOTHING:
                break
            yield owner, name
            yield from _read_by_text(owner, texts)
            owner = _attribute_of(owner, name)
        yield from _read_by_text(owner, texts)


def _read_by_text(owner: Any, texts: Iterable[str]) -> Iterator[tuple[Any, str]]:
    """What may be read of a module or a class by these names; other objects tell what is read of them."""
    return ((owner, text) for text in texts if isinstance(owner, ModuleType | type))


@lru_cache(maxsize=4096)
def _names_in_texts(code: CodeType, doc: str | None) -> tuple[str, ...]:
    """Every name in the texts that the code and the functions written inside it contain."""
    found: list[str] = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _names_in_texts(constant, None)
        elif isinstance(constant, str) and constant != doc and len(constant) <= _LONGEST_TEXT:
            found += re.findall(r"[^\W\d]\w*", constant)
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def names_after_dots(code: CodeType) -> frozenset[str]:
    """Every name that the code reads by a dot, from whatever object; names of globals are among them."""
    return frozenset(code.co_names).union(
        *(names_after_dots(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    )


def _attribute_of(owner: Any, name: str) -> Any:
    """An attribute, found without running anything of the user's."""
    if isinstance(owner, ModuleType):
        return vars(owner).get(name, NOTHING)
    if isinstance(owner, type):
        return getattr_static(owner, name, NOTHING)
    if isinstance(owner, Watched):  # tells what is read of it
        return NOTHING
    held: Mapping[str, Any] = getattr(owner, "__dict__", {})
    return held.get(name, NOTHING)


@lru_cache(maxsize=4096)
def _chains(code: CodeType) -> tuple[tuple[Any, ...], ...]:
    """((kind, first name), names after dots…) for each place where the code begins to read something by name."""
    found: list[list[Any]] = []
    is_open = False
    for instruction in get_instructions(code):
        name = instruction.argval
        if instruction.opname in _KINDS:
            found.append([(_KINDS[instruction.opname], name)])
            is_open = True
        elif instruction.opname == "IMPORT_FROM" and found:
            found.append([("module", _module_before(found)), name])
        elif instruction.opname in _ATTRIBUTE and is_open:
            found[-1].append(name)
        else:
            # What is imported stays on the stack for each name that is taken from it.
            is_open = False
    inner = [chain for constant in code.co_consts if isinstance(constant, CodeType) for chain in _chains(constant)]
    return (*map(tuple, found), *inner)


def _module_before(found: list[list[Any]]) -> str:
    """The module of the latest import."""
    return next((chain[0][1] for chain in reversed(found) if chain[0][0] == "module"), "")
