"""Remove nodes whose outputs nobody reads.

Collectives stay: other ranks wait for them. Ops that check the values of their inputs stay: what they promise to raise
is raised whether or not their result is used.
"""

from __future__ import annotations

from dtrain.graph.editor import Editor
from dtrain.graph.effects import may_drop
from dtrain.graph.graph import Graph


def eliminate_dead_code(graph: Graph) -> None:
    """Keep the nodes that a result, a collective or a check needs."""
    with Editor(graph) as editor:
        for node in editor.nodes(backwards=True):
            if not editor.is_read(node) and may_drop(node):
                editor.erase(node, reason="nobody reads what it computes")
