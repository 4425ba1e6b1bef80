"""Runs of a graph that end by an exception: whoever talks to other ranks learns which collectives were not called.

Other ranks carry theirs out, or wait in them, so that this rank's next ones must not be taken for those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtrain.graph.effects import is_collective
from dtrain.graph.graph import Node

Listener = Callable[[Sequence[Node]], None]

_listener: Listener | None = None


def set_unfinished_listener(listener: Listener) -> None:
    """Tell `listener` the collectives behind the node at which a run ended. `dtrain.collectives` does this."""
    global _listener
    _listener = listener


def tell_unfinished(nodes: Sequence[Node | None]) -> None:
    """A run ended at the first of these nodes, which are the rest of the graph.

    One that ends in a collective says so itself, on all ranks that take part in it.
    """
    if _listener is None or not nodes or (nodes[0] is not None and is_collective(nodes[0])):
        return
    missed = [node for node in nodes if node is not None and is_collective(node)]
    if missed:
        _listener(missed)
