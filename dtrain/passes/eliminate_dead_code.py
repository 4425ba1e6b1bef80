"""Remove nodes whose outputs nobody reads. Collectives stay: other ranks wait for them."""

from __future__ import annotations

from dtrain.graph.graph import Graph, Node


def eliminate_dead_code(graph: Graph) -> None:
    """Keep the nodes that a result or a collective needs."""
    needed = set(graph.results())
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op.is_collective or any(value in needed for value in node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
