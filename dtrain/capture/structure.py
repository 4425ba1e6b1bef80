"""Nested lists, tuples, dicts and slices of tensors, taken apart into a flat list and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dtrain.capture.contents import described
from dtrain.core.tensor import Tensor


class Leaf:
    """Stands for a tensor in a structure."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "tensor"


LEAF = Leaf()

VALUE, FLOAT = "value", "float"
# (tuple | list | slice, children…) | (dict, (key, its type, child)…)
# | (VALUE, type, value, what it holds…) | (FLOAT, hex) | LEAF
Structure = Any


def flatten(value: Any, *, tensors: Callable[[Any], Tensor | None]) -> tuple[list[Tensor], Structure]:
    """The tensors of a nested value, and a hashable description of the rest.

    `tensors` maps what is not a list, tuple, dict or slice to a tensor, or to None if it belongs to the structure.
    """
    found: list[Tensor] = []

    def visit(item: Any) -> Structure:
        kind = type(item)
        if kind is list or isinstance(item, tuple):
            return (kind, *map(visit, item))
        if kind is slice:  # Python before 3.12 cannot hash one
            return (slice, visit(item.start), visit(item.stop), visit(item.step))
        if kind is dict:
            return (dict, *((key, type(key), visit(child)) for key, child in item.items()))
        tensor = tensors(item)
        if tensor is not None:
            found.append(tensor)
            return LEAF
        # Equal keys must mean the same call: True == 1 == 1.0 and 0.0 == -0.0 do not, nan == nan does.
        return (FLOAT, item.hex()) if kind is float else (VALUE, kind, item, *described(item))

    structure = visit(value)
    return found, structure


def values_of(structure: Structure) -> Iterator[Any]:
    """What a structure holds besides tensors and floats."""
    if structure is LEAF or structure[0] == FLOAT:
        return
    kind, *children = structure
    if kind == VALUE:
        yield children[1]
        return
    for child in children:
        yield from values_of(child[-1] if kind is dict else child)


def unflatten(structure: Structure, tensors: Sequence[Tensor]) -> Any:
    """Put a value together again with other tensors."""
    remaining: Iterator[Tensor] = iter(tensors)

    def build(node: Structure) -> Any:
        if node is LEAF:
            return next(remaining)
        kind, *children = node
        if kind == VALUE:
            return children[1]
        if kind == FLOAT:
            return float.fromhex(children[0])
        if kind is dict:
            return {key: build(child) for key, _, child in children}
        built = [build(child) for child in children]
        if kind in (list, tuple):
            return kind(built)
        return kind(*built)  # a slice, or a named tuple

    return build(structure)
