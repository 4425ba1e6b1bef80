"""What a node does besides computing: the one place from which passes, the verifier and the editor learn it.

An op talks to other ranks, raises for some values, or overwrites memory of its inputs. Everything else is a function of
its inputs and attributes. Drawing random numbers is no effect of its own: a draw takes the state of its generator and
gives the next one in the same memory, so it overwrites, as an update of a parameter does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Node, Value

_NO_ALIASES: Mapping[int, int] = MappingProxyType({})


def is_collective(node: Node) -> bool:
    """Whether the node talks to other ranks."""
    return node.op.is_collective


def group_of(node: Node) -> str | None:
    """The group of ranks that must all run this node, in the same order; None where a rank runs it alone."""
    return str(node.attrs.get("group", "")) if node.op.is_collective else None


def checks_values(node: Node) -> bool:
    """Whether some values of its inputs make it raise, which a graph promises to do whoever reads its outputs."""
    return bool(node.op.checks) and node.op.checks_values([value.type for value in node.inputs])


def aliases_of(node: Node) -> Mapping[int, int]:
    """Index of an output -> index of the input whose memory it may take."""
    return node.op.aliases_of(node.attrs) if node.op.aliases else _NO_ALIASES


def writes_of(node: Node) -> tuple[Value, ...]:
    """The values whose memory a node may overwrite. Constants have memory that nobody overwrites."""
    if not node.op.aliases:
        return ()
    written = (node.inputs[source] for source in aliases_of(node).values())
    return tuple(value for value in written if value.node is None or value.node.op is not CONSTANT)


def may_merge(node: Node) -> bool:
    """Whether two such nodes with equal inputs and attributes may become one, and one may be computed ahead."""
    return not node.op.is_collective and not aliases_of(node)


def may_drop(node: Node) -> bool:
    """Whether the node may go where nobody reads its outputs."""
    return not node.op.is_collective and not checks_values(node)


def memory_of(value: Value) -> Value:
    """The value whose elements `value` shows: itself, unless a view makes it. (A view that has to copy counts too.)"""
    while value.node is not None and value.node.op.view is not None:
        value = value.node.inputs[0]
    return value


def overwritten_memory(nodes: Iterable[Node]) -> dict[Value, list[Node]]:
    """Which values are overwritten, and by which nodes, in order."""
    found: dict[Value, list[Node]] = {}
    for node in nodes:
        for value in writes_of(node):
            found.setdefault(memory_of(value), []).append(node)
    return found
