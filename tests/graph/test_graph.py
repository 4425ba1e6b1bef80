"""Graph: arguments and states, nodes, results, replacement of values."""

from __future__ import annotations

import pytest

import dtrain  # registers the ops
from dtrain.base.dtype import float32
from dtrain.base.errors import ShapeError
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph
from dtrain.graph.op import get_op

TYPE = tensor_type((2, 3), float32)


def test_states_stand_after_arguments_in_whatever_order_they_come() -> None:
    graph = Graph()
    state = graph.add_state(TYPE, "w")
    first = graph.add_argument(TYPE, "x")
    second = graph.add_argument(TYPE, "y")
    other = graph.add_state(TYPE, "v")
    assert graph.inputs == [first, second, state, other]
    assert graph.arguments == [first, second]
    assert graph.states == [state, other]


def test_a_graph_without_states_has_none() -> None:
    graph = Graph()
    assert (graph.arguments, graph.states) == ([], [])
    value = graph.add_argument(TYPE)
    assert (graph.arguments, graph.states) == ([value], [])


def test_add_node_infers() -> None:
    graph = Graph()
    x = graph.add_argument(TYPE)
    bias = graph.add_argument(tensor_type((3,), float32))
    node = graph.add_node(get_op("add"), [x, bias], source="train.py:3")
    assert [value.type for value in node.outputs] == [TYPE]
    assert (node.outputs[0].node, node.outputs[0].index, node.source) == (node, 0, "train.py:3")
    with pytest.raises(ShapeError, match="add"):
        graph.add_node(get_op("add"), [x, graph.add_argument(tensor_type((4,), float32))])
    assert graph.nodes == [node], "a node that does not fit is not added"


def test_results_are_outputs_and_then_updates_by_state() -> None:
    graph = Graph()
    states = [graph.add_state(TYPE) for _ in range(3)]
    values = [graph.add_node(get_op("add"), [states[0], states[1]]).outputs[0] for _ in range(3)]
    graph.outputs = [values[0]]
    graph.updates = {2: values[1], 0: values[2]}
    assert graph.results() == [values[0], values[2], values[1]]


def test_str_is_the_text_form() -> None:
    graph = Graph("tiny")
    graph.outputs = [graph.add_argument(TYPE, "x")]
    assert str(graph) == "graph tiny(%x: f32[2,3]@cpu; ) {\n  return %x\n}"
    assert repr(graph.outputs[0]) == "%x: f32[2,3]@cpu"


def test_the_constant_op_is_typed_by_its_array() -> None:
    array = dtrain.arange(3).numpy()
    node = Graph().add_node(CONSTANT, [], {"value": array})
    assert str(node.outputs[0].type) == "s64[3]@cpu"
