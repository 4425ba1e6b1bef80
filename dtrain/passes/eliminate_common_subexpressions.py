"""Compute equal things once: nodes of one op with the same inputs and attributes become one node.

Ops are pure (random ops take and give their state), so only collectives, which must match between ranks, and ops that
overwrite an input are left alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from dtrain.graph.graph import Graph, Node, Value


def eliminate_common_subexpressions(graph: Graph) -> None:
    """Let readers of a repeated node read the first one."""
    seen: dict[Hashable, Node] = {}
    replacement: dict[Value, Value] = {}
    for node in graph.nodes:
        node.inputs = tuple(replacement.get(value, value) for value in node.inputs)
        if node.op.is_collective or node.op.aliases_of(node.attrs):
            continue
        key = (node.op.name, node.inputs, tuple((name, _key(value)) for name, value in node.attrs.items()))
        first = seen.setdefault(key, node)
        if first is not node:
            replacement.update(zip(node.outputs, first.outputs))
    graph.nodes = [node for node in graph.nodes if not node.outputs or node.outputs[0] not in replacement]
    graph.replace_values(replacement)


def _key(value: Any) -> Hashable:
    """A hashable stand-in; numbers carry their type, since 1 == 1.0 == True, and −0.0 is not 0.0."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.dtype.name, value.tobytes())
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if isinstance(value, float):
        return ("float", value.hex())
    return (type(value), value)
