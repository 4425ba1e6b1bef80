"""verify: each kind of broken graph is caught, with a message that says where and what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import dtrain  # noqa: F401  registers the ops
from dtrain.base.dtype import float32, float64
from dtrain.base.errors import GraphError
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import Op, get_op
from dtrain.graph.verify import verify

TYPE = tensor_type((2, 3), float32)
OTHER = tensor_type((3, 2), float32)
WIDE = tensor_type((2, 3), float64)


def good() -> Graph:
    """x + w twice; the second updates w."""
    graph = Graph("good")
    x, w = graph.add_argument(TYPE, "x"), graph.add_state(TYPE, "w")
    first = graph.add_node(get_op("add"), [x, w])
    second = graph.add_node(get_op("mul"), [first.outputs[0], w])
    graph.outputs, graph.updates = [first.outputs[0]], {0: second.outputs[0]}
    return graph


def test_a_good_graph_passes() -> None:
    verify(good())
    verify(Graph())


def repeat_input(graph: Graph) -> None:
    graph.inputs[1] = graph.inputs[0]


def swap_nodes(graph: Graph) -> None:
    graph.nodes.reverse()


def read_unknown(graph: Graph) -> None:
    graph.nodes[0].inputs = (Value(TYPE, name="stray"), graph.inputs[1])


def list_a_node_twice(graph: Graph) -> None:
    graph.nodes.append(graph.nodes[0])


def steal_an_output(graph: Graph) -> None:
    stolen = Node(get_op("add"), graph.inputs, [TYPE])
    stolen.outputs = (Value(TYPE, node=graph.nodes[0]),)
    graph.nodes.append(stolen)


def change_output_type(graph: Graph) -> None:
    graph.nodes[1].outputs[0].type = OTHER


def change_input_shape(graph: Graph) -> None:
    graph.inputs[0].type = OTHER


def change_input_dtype(graph: Graph) -> None:
    graph.inputs[0].type = WIDE


def add_an_attribute(graph: Graph) -> None:
    graph.nodes[0].attrs["axis"] = 1


def drop_an_input(graph: Graph) -> None:
    graph.nodes[0].inputs = graph.nodes[0].inputs[:1]


def give_back_unknown(graph: Graph) -> None:
    graph.outputs = [Value(TYPE, name="stray")]


def update_with_unknown(graph: Graph) -> None:
    graph.updates = {0: Value(TYPE, name="stray")}


def update_a_missing_state(graph: Graph) -> None:
    graph.updates = {1: graph.outputs[0]}


def update_with_another_type(graph: Graph) -> None:
    graph.updates = {0: graph.add_argument(OTHER)}


def use_a_dynamic_op(graph: Graph) -> None:
    graph.add_node(Op(name="choose", infer=lambda x: x, is_dynamic=True), graph.inputs[:1])


BREAKAGES: list[tuple[Callable[[Graph], None], str]] = [
    (repeat_input, "each input once"),
    (swap_nodes, "inputs of mul that are defined before it"),
    (read_unknown, "inputs of add that are defined before it, got %stray: f32"),
    (list_a_node_twice, "outputs of add that are its own and new"),
    (steal_an_output, "outputs of add that are its own and new"),
    (change_output_type, r"mul to give f32\[2,3\]@cpu, got f32\[3,2\]@cpu"),
    (change_input_shape, r"inputs and attributes that add takes, got f32\[3,2\]@cpu, f32\[2,3\]@cpu; add: expected"),
    (change_input_dtype, r"inputs of add cast to one dtype, got f64\[2,3\]@cpu, f32\[2,3\]@cpu"),
    (add_an_attribute, "inputs and attributes that add takes, .*axis"),
    (drop_an_input, "inputs and attributes that add takes"),
    (give_back_unknown, "results that a node or an input defines, got %stray"),
    (update_with_unknown, "results that a node or an input defines, got %stray"),
    (update_a_missing_state, "a state below 1, got 1"),
    (update_with_another_type, r"an update of type f32\[2,3\]@cpu, got f32\[3,2\]@cpu"),
    (use_a_dynamic_op, "ops whose output shapes follow from types, got choose"),
]


@pytest.mark.parametrize(("breakage", "message"), BREAKAGES, ids=[item[0].__name__ for item in BREAKAGES])
def test_each_kind_of_broken_graph_is_caught(breakage: Callable[[Graph], None], message: str) -> None:
    graph = good()
    breakage(graph)
    with pytest.raises(GraphError, match="^verify: expected " + message):
        verify(graph)


def test_the_message_names_the_pass() -> None:
    graph = good()
    swap_nodes(graph)
    with pytest.raises(GraphError, match=r"^verify after fold_constants: "):
        verify(graph, after="fold_constants")
