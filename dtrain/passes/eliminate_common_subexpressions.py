"""Compute equal things once: nodes of one op with the same inputs and attributes become one node.

What may be computed once for twice is said by `graph/effects.py`. A value that is overwritten takes no readers over
from behind that.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from dtrain.graph.editor import Editor
from dtrain.graph.effects import may_merge
from dtrain.graph.graph import Graph, Node


def eliminate_common_subexpressions(graph: Graph) -> None:
    """Let readers of a repeated node read the first one."""
    seen: dict[Hashable, Node] = {}
    with Editor(graph) as editor:
        for node in editor.nodes():
            if not may_merge(node):
                continue
            key = (node.op.name, node.inputs, tuple([(name, _key(value)) for name, value in node.attrs.items()]))
            first = seen.setdefault(key, node)
            if first is not node and all(map(editor.may_stand_for, first.outputs, node.outputs)):
                editor.replace(node, first.outputs, reason="an earlier node computes the same")


def _key(value: Any) -> Hashable:
    """A hashable stand-in; numbers carry their type, since 1 == 1.0 == True, and −0.0 is not 0.0."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.dtype.name, value.tobytes())
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if isinstance(value, float):
        return ("float", value.hex())
    return (type(value), value)
