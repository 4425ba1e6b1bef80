"""Compute at compile time what depends on constants alone, with the kernel that would compute it at run time."""

from __future__ import annotations

from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph, Node, Value
from dtrain.runtime.dispatch import dispatch

# A folded array lives as long as the graph; a large one is cheaper to make again each run.
MAX_FOLDED_NBYTES = 1 << 20


def fold_constants(graph: Graph) -> None:
    """Replace nodes without inputs, or with constant inputs, by constants of at most 1 MiB."""
    nodes: list[Node] = []
    replacement: dict[Value, Value] = {}
    for node in graph.nodes:
        node.inputs = tuple(replacement.get(value, value) for value in node.inputs)
        if not _is_foldable(node):
            nodes.append(node)
            continue
        for value, constant in zip(node.outputs, _compute(node)):
            nodes.append(constant)
            replacement[value] = constant.outputs[0]
    graph.nodes = nodes
    graph.replace_values(replacement)


def _is_foldable(node: Node) -> bool:
    return (
        node.op is not CONSTANT
        and not node.op.is_collective
        and not node.op.aliases_of(node.attrs)
        and bool(node.outputs)
        and all(value.type.nbytes <= MAX_FOLDED_NBYTES and value.type.device.is_cpu for value in node.outputs)
        and all(value.type.device.is_cpu for value in node.inputs)
        and all(value.node is not None and value.node.op is CONSTANT for value in node.inputs)
    )


def _compute(node: Node) -> list[Node]:
    types = tuple(value.type for value in node.inputs)
    arrays = [value.node.attrs["value"] for value in node.inputs if value.node is not None]
    constants = []
    for value, array in zip(node.outputs, dispatch(node.op, types, node.attrs).run(arrays, node.attrs)):
        folded = array.copy()
        folded.flags.writeable = False
        constants.append(Node(CONSTANT, (), (value.type,), {"value": folded}, source=node.source))
    return constants
