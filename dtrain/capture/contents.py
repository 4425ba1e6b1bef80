"""What plain containers hold, and whether that is as it was: the part of a function's surroundings that has no hooks.

Lists, dicts, sets, deques and tuples, also of classes derived from these; namespaces and dataclass instances, with and
without slots; `functools.partial`, which holds a function and its arguments; and context variables.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, partial
from itertools import chain
from operator import is_
from threading import local
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from dtrain.capture.watched import Watched
from dtrain.core.tensor import Tensor

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent"})()
_ITERABLES = (list, tuple, deque, set, frozenset)
_MAPPINGS = (dict, MappingProxyType)
_NAMESPACES = (SimpleNamespace, Namespace, ChainMap, UserDict, UserList, local)  # hold all in attributes
_MAX_DEPTH = 8  # of containers in containers; one may hold itself
_SAME_OBJECT: Any = object.__eq__
_COMMON = frozenset([bool, int, str, bytes, type(None)])
_SCALARS = (bool, int, float, complex, str, bytes)


def names_of_members(attributes: dict[str, Any]) -> tuple[str, ...]:
    """The attributes that hold tensors or modules, directly or in containers."""
    return tuple([name for name, value in attributes.items() if _has_members(value)])


def _has_members(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Tensor | Watched):
        return True
    return depth < _MAX_DEPTH and any(_has_members(item, depth + 1) for item in content_of(value) or ())


def content_of(value: Any) -> tuple[Any, ...] | None:
    """What a container holds now, flat; None for anything else."""
    kind = type(value)
    if kind is list or kind is tuple:
        return tuple(value)
    if kind is dict:
        return (*value.keys(), *value.values())
    return _content_of_others(value)


def _content_of_others(value: Any) -> tuple[Any, ...] | None:
    kind: type = type(value)
    if isinstance(value, Watched) or kind.__module__.startswith("dtrain."):
        return None  # changes of their attributes are counted, or told as guards
    if _is_record(kind):
        return _attributes_of(value)
    # Classes of the user's that derive from containers may have attributes too.
    if isinstance(value, _ITERABLES):
        return (*value, *_attributes_of(value))
    if isinstance(value, _MAPPINGS):
        return (*value.keys(), *value.values(), *_attributes_of(value))
    if kind is ContextVar:
        return (value.get(ABSENT),)
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.keys(), *value.keywords.values())
    return None


@cache
def _is_record(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, _NAMESPACES)


@cache
def _slots_of(kind: type) -> tuple[str, ...]:
    """The attributes of a record that do not lie in its `__dict__`."""
    slots = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    names = [name for some in slots for name in ([some] if isinstance(some, str) else some)]
    return tuple(name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__"))


class _Attributes(Mapping[str, Any]):
    """The attributes of an object with slots, as a dict shows those of one without."""

    def __init__(self, owner: Any, names: tuple[str, ...], others: Mapping[str, Any]) -> None:
        self._owner, self._names, self._others = owner, names, others

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            return self._others[name]
        try:
            return object.__getattribute__(self._owner, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return chain((name for name in self._names if name in self), self._others)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def own_attributes(value: Any) -> Mapping[str, Any]:
    """What an object itself has, not its class, found without calling anything of its class."""
    try:
        attributes: Mapping[str, Any] = object.__getattribute__(value, "__dict__")
    except AttributeError:  # slots only
        attributes = {}
    kind: type = type(value)
    slots = _slots_of(kind)
    return _Attributes(value, slots, attributes) if slots else attributes


def _attributes_of(value: Any) -> tuple[Any, ...]:
    attributes = getattr(value, "__dict__", None) or {}
    held = (*attributes.keys(), *attributes.values())
    kind: type = type(value)
    slots = _slots_of(kind)
    return (*held, *[getattr(value, name, ABSENT) for name in slots]) if slots else held


def described(value: Any) -> tuple[Any, ...]:
    """What tells values apart that are equal but captured differently: the kinds of number that they hold.

    Only of values that compare by what they hold, as frozen dataclasses and sets do. Nothing for all others.
    """
    kind = type(value)
    if kind in _COMMON or kind.__eq__ is _SAME_OBJECT or isinstance(value, Tensor):
        return ()
    if isinstance(value, complex | np.generic):
        return (_told(value),)
    content = content_of(value)
    if content is None:
        return ()
    return (frozenset(map(_told, content)) if isinstance(value, frozenset) else tuple(map(_told, content)),)


def _told(item: Any) -> Any:
    kind = type(item)
    if isinstance(item, float | complex | np.generic):
        return (kind, repr(item))  # −0.0 is not 0.0, and NaN is NaN
    if kind in _COMMON:
        return (kind, item)
    content = content_of(item)
    if content is None:
        return (kind, id(item)) if kind.__hash__ is None else (kind, item)
    return (kind, frozenset(map(_told, content)) if kind in (set, frozenset) else tuple(map(_told, content)))


def same_items(present: Iterable[Any], before: tuple[Any, ...]) -> bool:
    items = present if isinstance(present, list | tuple) else tuple(present)
    if len(items) != len(before):
        return False
    return all(map(is_, items, before)) or all(map(is_same, items, before))


def is_same(present: Any, before: Any) -> bool:
    """Whether both would be captured alike: one object, or equal numbers or texts of one type, or tuples of such."""
    if present is before:
        return True
    kind = type(before)
    if type(present) is not kind:
        return False
    if kind is float:
        return bool(present.hex() == before.hex())  # 0.0 is not −0.0, and NaN is NaN
    if kind is tuple:
        return same_items(present, before)
    if isinstance(before, np.generic):
        return bool(present.tobytes() == before.tobytes())
    return kind in _SCALARS and bool(present == before)
