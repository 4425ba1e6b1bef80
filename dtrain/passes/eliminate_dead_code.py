"""Remove nodes whose outputs nobody reads.

Collectives stay: other ranks wait for them. Ops that check the values of their inputs stay: what they promise to raise
is raised whether or not their result is used.
"""

from __future__ import annotations

from dtrain.graph.graph import Graph, Node


def eliminate_dead_code(graph: Graph) -> None:
    """Keep the nodes that a result, a collective or a check needs."""
    needed = set(graph.results())
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if _has_effect(node) or any(value in needed for value in node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]


def _has_effect(node: Node) -> bool:
    return node.op.is_collective or node.op.checks_values([value.type for value in node.inputs])
