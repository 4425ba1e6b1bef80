"""Nested values as JSON plus a flat dict of arrays: lists, tuples, dicts, numbers, texts, tensors and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.base.dtype import from_numpy
from dtrain.base.errors import CheckpointError, expected
from dtrain.core.tensor import Tensor, wrap

# What JSON cannot say is a dict with one of these keys.
_TENSOR, _ARRAY, _TUPLE = "$tensor", "$array", "$tuple"


def encode(value: Any, name: str = "") -> tuple[Any, dict[str, np.ndarray]]:
    """(JSON-able structure, arrays by dotted name). Raises CheckpointError, naming the place, for anything else."""
    arrays: dict[str, np.ndarray] = {}

    def visit(item: Any, name: str) -> Any:
        if isinstance(item, Tensor):
            arrays[name] = item.numpy()
            return {_TENSOR: name}
        if isinstance(item, np.ndarray):
            from_numpy(item.dtype)  # raises for a dtype that is not ours
            arrays[name] = item
            return {_ARRAY: name}
        if isinstance(item, np.generic):
            return visit(item.item(), name)
        if isinstance(item, Mapping):
            return {_checked_key(key, name): visit(child, _join(name, key)) for key, child in item.items()}
        if isinstance(item, list | tuple):
            children = [visit(child, _join(name, str(index))) for index, child in enumerate(item)]
            return {_TUPLE: children} if isinstance(item, tuple) else children
        if item is None or isinstance(item, bool | int | float | str):
            return item
        raise CheckpointError(
            expected("checkpoint", "tensors, arrays, numbers, texts, lists, tuples and dicts", _at(item, name))
        )

    return visit(value, name), arrays


def decode(structure: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that `encode` took apart."""
    if isinstance(structure, list):
        return [decode(child, arrays) for child in structure]
    if not isinstance(structure, dict):
        return structure
    if len(structure) == 1:
        ((key, content),) = structure.items()
        if key == _TENSOR:
            return wrap(arrays[content])
        if key == _ARRAY:
            return arrays[content]
        if key == _TUPLE:
            return tuple(decode(child, arrays) for child in content)
    return {key: decode(child, arrays) for key, child in structure.items()}


def _checked_key(key: Any, name: str) -> str:
    if not isinstance(key, str) or key.startswith("$"):
        raise CheckpointError(expected("checkpoint", "dict keys that are texts not beginning with $", _at(key, name)))
    return key


def _at(item: Any, name: str) -> str:
    return f"{item!r:.80} ({type(item).__name__}) at {name or 'the top'}"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
