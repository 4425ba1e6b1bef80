"""Compute at compile time what depends on constants alone, with the kernel that would compute it at run time."""

from __future__ import annotations

from dtrain.graph.constant import CONSTANT, constant_attrs
from dtrain.graph.editor import Editor
from dtrain.graph.effects import may_merge
from dtrain.graph.graph import Graph, Node
from dtrain.kernels.array_module import Array
from dtrain.runtime.dispatch import dispatch

# A folded array lives as long as the graph; a large one is cheaper to make again each run.
MAX_FOLDED_NBYTES = 1 << 20
_REASON = "depends on constants alone"


def fold_constants(graph: Graph) -> None:
    """Replace nodes without inputs, or with constant inputs, by constants of at most 1 MiB."""
    with Editor(graph) as editor:
        for node in editor.nodes():
            if _is_foldable(node):
                # Computed without an error: what it checks holds.
                values = [
                    editor.insert_before(node, CONSTANT, (), constant_attrs(array, old.type), reason=_REASON).outputs[0]
                    for array, old in zip(_compute(node), node.outputs)
                ]
                editor.replace(node, values, reason=_REASON, proven=True)


def _is_foldable(node: Node) -> bool:
    return (
        node.op is not CONSTANT
        and bool(node.outputs)
        and all(value.node is not None and value.node.op is CONSTANT for value in node.inputs)
        and may_merge(node)
        and all(value.type.nbytes <= MAX_FOLDED_NBYTES and value.type.device.is_cpu for value in node.outputs)
        and all(value.type.device.is_cpu for value in node.inputs)
    )


def _compute(node: Node) -> list[Array]:
    types = tuple(value.type for value in node.inputs)
    arrays = [value.node.attrs["value"] for value in node.inputs if value.node is not None]
    folded = [array.copy() for array in dispatch(node.op, types, node.attrs).run(arrays, node.attrs)]
    for array in folded:
        array.flags.writeable = False
    return folded
