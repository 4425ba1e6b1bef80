"""Is a graph well formed? Run after every pass, so that a broken rewrite is caught where it happens."""

from __future__ import annotations

from dtrain.base.errors import DtrainError, GraphError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.inference import infer_types


def verify(graph: Graph, *, after: str = "") -> None:
    """Raise GraphError unless every value is defined before it is read, once, with the types its op infers."""
    where = f"verify after {after}" if after else "verify"
    defined: set[Value] = set(graph.inputs)
    if len(defined) != len(graph.inputs):
        raise GraphError(expected(where, "each input once", "a repeated input"))
    for node in graph.nodes:
        if node.op.is_dynamic:
            raise GraphError(expected(where, "ops whose output shapes follow from types", node.op.name))
        _verify_node(node, defined, where)
    for value in graph.results():
        if value not in defined:
            raise GraphError(expected(where, "results that a node or an input defines", repr(value)))
    for position, value in graph.updates.items():
        if not 0 <= position < graph.num_states:
            raise GraphError(expected(where, f"a state below {graph.num_states}", str(position)))
        if graph.states[position].type is not value.type:
            raise GraphError(expected(where, f"an update of type {graph.states[position].type}", str(value.type)))


def _infer(node: Node, where: str) -> tuple[TensorType, ...]:
    given = tuple(value.type for value in node.inputs)
    if node.op.promotes and len({type.dtype for type in given}) > 1:
        raise GraphError(expected(where, f"inputs of {node.op.name} cast to one dtype", ", ".join(map(str, given))))
    try:
        return infer_types(node.op, given, node.attrs)
    except (DtrainError, TypeError) as error:
        raise GraphError(
            expected(where, f"inputs and attributes that {node.op.name} takes", ", ".join(map(str, given)), str(error))
        ) from error


def _verify_node(node: Node, defined: set[Value], where: str) -> None:
    for value in node.inputs:
        if value not in defined:
            raise GraphError(expected(where, f"inputs of {node.op.name} that are defined before it", repr(value)))
    types = _infer(node, where)
    if types != tuple(value.type for value in node.outputs):
        given = ", ".join(str(value.type) for value in node.outputs)
        raise GraphError(expected(where, f"{node.op.name} to give {', '.join(map(str, types))}", given))
    for value in node.outputs:
        if value in defined or value.node is not node:
            raise GraphError(expected(where, f"outputs of {node.op.name} that are its own and new", repr(value)))
        defined.add(value)
