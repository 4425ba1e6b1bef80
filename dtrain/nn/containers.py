"""Modules that hold other modules: a chain, a list, a dict.

`_items` is replaced by every change, so that captures notice it as they notice any attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from dtrain.base.errors import expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.nn.module import Module

Member = TypeVar("Member", Module, Parameter)


class ModuleList(Module):
    """A list of modules, named 0, 1, 2, …; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._items: tuple[Module, ...] = ()
        self.extend(modules)

    def members(self) -> Iterator[tuple[str, Tensor | Module]]:
        return ((str(index), module) for index, module in enumerate(self._items))

    def replace_child(self, name: str, module: Module) -> None:
        self[int(name)] = module

    def append(self, module: Module) -> ModuleList:
        """Add at the end. Returns self."""
        self._items = (*self._items, _checked(type(self).__name__, module))
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several at the end. Returns self."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Add before position `index`."""
        items = list(self._items)
        items.insert(index, _checked(type(self).__name__, module))
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module | ModuleList:
        return type(self)(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __setitem__(self, index: int, module: Module) -> None:
        items = list(self._items)
        items[index] = _checked(type(self).__name__, module)
        self._items = tuple(items)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self._items)
        del items[index]
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items)


class Sequential(Module):
    """A chain: each module gets the output of the one before.

    nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), or with names from a dict.
    """

    _replaced = Module._replaced | {"_items"}

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = dict(modules[0])
        else:
            named = {str(index): module for index, module in enumerate(modules)}  # type: ignore[misc]
        self._items = {name: _checked("Sequential", module) for name, module in named.items()}

    def forward(self, x: Any) -> Any:
        for module in self._items.values():
            x = module(x)
        return x

    def members(self) -> Iterator[tuple[str, Tensor | Module]]:
        yield from self._items.items()

    def replace_child(self, name: str, module: Module) -> None:
        self[name] = module

    def append(self, module: Module) -> Sequential:
        """Add at the end under the next number. Returns self."""
        self._items = {**self._items, str(len(self._items)): _checked("Sequential", module)}
        return self

    def __getitem__(self, index: int | str | slice) -> Module:
        if isinstance(index, str):
            return self._items[index]
        listed = list(self._items.values())
        return Sequential(*listed[index]) if isinstance(index, slice) else listed[index]

    def __setitem__(self, index: int | str, module: Module) -> None:
        name = index if isinstance(index, str) else list(self._items)[index]
        self._items = {**self._items, name: _checked("Sequential", module)}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items.values())


class NamedMembers(Module, Generic[Member]):
    """What dicts of modules and of parameters have in common: members under string keys, which are their names."""

    _replaced = Module._replaced | {"_items"}
    _items: dict[str, Member]

    def members(self) -> Iterator[tuple[str, Tensor | Module]]:
        yield from self._items.items()

    def _put(self, name: str, member: Member) -> None:
        """Set the member under a key. Raises TypeError for what cannot be a part of dotted names."""
        if not isinstance(name, str) or not name or "." in name:
            raise TypeError(expected(type(self).__name__, "a string without dots as key", repr(name)))
        self._items = {**self._items, name: member}

    def __getitem__(self, name: str) -> Member:
        return self._items[name]

    def __delitem__(self, name: str) -> None:
        items = dict(self._items)
        del items[name]
        self._items = items

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def keys(self) -> Iterable[str]:
        """The keys, in order of insertion."""
        return self._items.keys()

    def values(self) -> Iterable[Member]:
        """The members, in order of insertion."""
        return self._items.values()

    def items(self) -> Iterable[tuple[str, Member]]:
        """Keys and members, in order of insertion."""
        return self._items.items()


class ModuleDict(NamedMembers[Module]):
    """A dict of modules under string keys; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._items: dict[str, Module] = {}
        for name, module in (modules or {}).items():
            self[name] = module

    def replace_child(self, name: str, module: Module) -> None:
        self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        self._put(name, _checked("ModuleDict", module))


def _checked(where: str, module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(expected(where, "modules", type(module).__name__, "wrap functions in a Module"))
    return module
