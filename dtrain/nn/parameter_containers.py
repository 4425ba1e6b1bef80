"""Parameters in a list or a dict that is a module, so that their names and places in a state dict are its own.

A plain list or dict of parameters as an attribute does the same; these have PyTorch's names and methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dtrain.base.errors import expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.nn.containers import NamedMembers
from dtrain.nn.module import Module


class ParameterList(Module):
    """A list of parameters, named 0, 1, 2, …; tensors become parameters."""

    def __init__(self, values: Iterable[Tensor] | None = None) -> None:
        self._items: tuple[Parameter, ...] = ()
        self.extend(() if values is None else values)

    def members(self) -> Iterator[tuple[str, Tensor | Module]]:
        return ((str(index), parameter) for index, parameter in enumerate(self._items))

    def extra_repr(self) -> str:
        return _shown(self.members())

    def append(self, value: Tensor) -> ParameterList:
        """Add at the end. Returns self."""
        self._items = (*self._items, _parameter("ParameterList", value))
        return self

    def extend(self, values: Iterable[Tensor]) -> ParameterList:
        """Add several at the end. Returns self."""
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(expected("ParameterList", "an iterable of tensors", type(values).__name__))
        for value in values:
            self.append(value)
        return self

    def __getitem__(self, index: int | slice) -> Any:
        found = self._items[index]
        return ParameterList(found) if isinstance(found, tuple) else found

    def __setitem__(self, index: int, value: Tensor) -> None:
        items = list(self._items)
        items[index] = _parameter("ParameterList", value)
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._items)

    def __iadd__(self, values: Iterable[Tensor]) -> ParameterList:
        return self.extend(values)


class ParameterDict(NamedMembers[Parameter]):
    """A dict of parameters under string keys; tensors become parameters."""

    def __init__(self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None) -> None:
        self._items: dict[str, Parameter] = {}
        self.update({} if parameters is None else parameters)

    def extra_repr(self) -> str:
        return _shown(self.members())

    def update(self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> None:
        """Set several."""
        for name, value in dict(parameters).items():
            self[name] = value

    def __setitem__(self, name: str, value: Tensor) -> None:
        self._put(name, _parameter("ParameterDict", value))

    def pop(self, name: str) -> Parameter:
        """Take one out."""
        found = self[name]
        del self[name]
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The parameter under a key, or the default."""
        return self._items.get(name, default)


def _shown(members: Iterable[tuple[str, Tensor | Module]]) -> str:
    return ", ".join(f"{name}: {value.type}" for name, value in members if isinstance(value, Tensor))


def _parameter(where: str, value: Any) -> Parameter:
    if not isinstance(value, Tensor):
        raise TypeError(expected(where, "tensors", type(value).__name__, "keep other values in attributes"))
    return value if isinstance(value, Parameter) else Parameter(value)
