"""Patterns: values that describe a piece of a graph by what computes it.

    call("neg", call("neg", anything("x")))
    call("add", anything("x"), filled_with(0))

A pattern is matched against a value from its node towards the inputs. A name that stands twice means the same value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Node, Value


@dataclass(frozen=True, slots=True)
class Anything:
    """Every value; the match knows it by `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class FilledWith:
    """A constant all of whose elements are `number`, to the bit: 0.0 is not −0.0. One without elements is not."""

    number: float


@dataclass(frozen=True, slots=True)
class CallOf:
    """The output of a node of this op, with inputs that match, and among its attributes these."""

    op: str
    inputs: tuple[Pattern, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


Pattern = Anything | FilledWith | CallOf


def anything(name: str) -> Anything:
    """Matches every value."""
    return Anything(name)


def filled_with(number: float) -> FilledWith:
    """Matches a constant that holds nothing but this number."""
    return FilledWith(number)


def call(op: str, *inputs: Pattern, name: str = "", **attrs: Any) -> CallOf:
    """Matches what `op` computes of values that match `inputs`, with at least these attributes."""
    return CallOf(op, inputs, attrs, name)


class Match:
    """Where a pattern was found: its `node`, and the values of its names."""

    __slots__ = ("node", "values")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.values: dict[str, Value] = {}

    @property
    def output(self) -> Value:
        """What the piece computes."""
        return self.node.outputs[0]

    def __getitem__(self, name: str) -> Value:
        return self.values[name]


Condition = Callable[[Match], bool]


def match(pattern: CallOf, node: Node) -> Match | None:
    """The pattern at the one output of `node`; None where something else is computed."""
    if node.op.name != pattern.op or len(node.outputs) != 1:
        return None
    found = Match(node)
    return found if _matches(pattern, node.outputs[0], found.values) else None


def _matches(pattern: Pattern, value: Value, values: dict[str, Value]) -> bool:
    if isinstance(pattern, Anything):
        return values.setdefault(pattern.name, value) is value
    node = value.node
    if node is None or value.index != 0:
        return False
    if isinstance(pattern, FilledWith):
        return node.op is CONSTANT and _is_filled(node.attrs["value"], pattern.number)
    if node.op.name != pattern.op or len(node.inputs) != len(pattern.inputs):
        return False
    if any(name not in node.attrs or node.attrs[name] != wanted for name, wanted in pattern.attrs.items()):
        return False
    if pattern.name and values.setdefault(pattern.name, value) is not value:
        return False
    return all(_matches(part, given, values) for part, given in zip(pattern.inputs, node.inputs))


def _is_filled(array: np.ndarray, number: float) -> bool:
    if not array.size or array.dtype.kind == "b":
        return False
    try:
        wanted = np.full(array.shape, number, array.dtype)
    except OverflowError:  # no integer of this width
        return False
    return bool((wanted == array).all()) and wanted.tobytes() == array.tobytes()
