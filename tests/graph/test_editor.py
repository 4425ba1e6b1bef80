"""The editor: readers, results and order stay right through every change, and every change is noted."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain  # noqa: F401  registers the ops
from dtrain.base.dtype import float32, float64
from dtrain.base.errors import GraphError
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.editor import Editor
from dtrain.graph.graph import Graph
from dtrain.graph.op import get_op
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify

TYPE = tensor_type((2, 3), float32)
CHAIN = """
graph g(%x: f32[2]@cpu; %w: f32[2]@cpu) {
  %0: f32[2]@cpu = exp(%x)  # a.py:1
  %1: f32[2]@cpu = neg(%0)  # a.py:2
  %2: f32[2]@cpu = add(%1, %0)  # a.py:3
  return %2, %1; %w <- %1
}"""


def test_readers_are_listed_once_each() -> None:
    graph = Graph()
    x = graph.add_argument(TYPE)
    first = graph.add_node(get_op("add"), [x, x])
    second = graph.add_node(get_op("mul"), [first.outputs[0], x])
    graph.outputs = [second.outputs[0]]
    editor = Editor(graph)
    assert editor.readers(x) == [first, second]
    assert editor.readers(first.outputs[0]) == [second]
    assert editor.readers(second.outputs[0]) == []
    assert editor.is_read(second) and editor.is_result(second.outputs[0]) and not editor.is_result(x)


def test_a_replaced_value_is_read_nowhere_any_more() -> None:
    graph = parse_graph(CHAIN)
    exp, negative, add = graph.nodes
    with Editor(graph) as editor:
        editor.replace(negative, exp.outputs, reason="for the test")
        assert editor.readers(exp.outputs[0]) == [add]
        editor.replace(exp, graph.arguments, reason="chained")
        assert editor.readers(graph.arguments[0]) == [add]
        assert [node.op.name for node in editor.nodes()] == ["add"]
    assert add.inputs == (graph.arguments[0],) * 2
    assert graph.outputs == [add.outputs[0], graph.arguments[0]]
    assert graph.updates == {0: graph.arguments[0]}
    assert [(change.kind, change.node, change.reason) for change in graph.changes] == [
        ("replace", negative, "for the test"),
        ("replace", exp, "chained"),
    ]
    verify(graph)


def test_nodes_are_inserted_where_they_are_wanted_and_have_a_source() -> None:
    graph = parse_graph(CHAIN)
    exp, negative, add = graph.nodes
    with Editor(graph) as editor:
        last = editor.insert_after(add, get_op("exp"), add.outputs, reason="last")
        first = editor.insert_after(None, get_op("sqrt"), graph.arguments, like=add, reason="first")
        between = editor.insert_before(add, get_op("sqrt"), exp.outputs, reason="between")
        behind = editor.insert_after(between, get_op("exp"), between.outputs, reason="behind that")
        assert editor.readers(between.outputs[0]) == [behind]
    assert graph.nodes == [first, exp, negative, between, behind, add, last]
    assert [node.source for node in graph.nodes] == [
        "a.py:3", "a.py:1", "a.py:2", "a.py:3", "a.py:3", "a.py:3", "a.py:3",
    ]  # fmt: skip
    assert all(node.outputs[0].type is graph.arguments[0].type for node in graph.nodes)
    verify(graph)


def test_nodes_may_come_and_go_while_they_are_visited() -> None:
    graph = parse_graph(CHAIN)
    exp, negative, _ = graph.nodes
    visited = []
    with Editor(graph) as editor:
        for node in editor.nodes():
            visited.append(node.op.name)
            if node is exp:
                editor.insert_after(node, get_op("sqrt"), node.outputs, reason="visited next")
            if node is negative:
                editor.replace(negative, exp.outputs, reason="")
        assert [node.op.name for node in editor.nodes(backwards=True)] == ["add", "sqrt", "exp"]
    assert visited == ["exp", "sqrt", "neg", "add"]


def test_what_is_read_or_has_another_type_is_refused() -> None:
    graph = parse_graph(CHAIN)
    exp, _, add = graph.nodes
    editor = Editor(graph)
    with pytest.raises(GraphError, match=r"Editor.erase: expected a exp that nobody reads, got one that is read"):
        editor.erase(exp, reason="")
    with pytest.raises(GraphError, match="erase"):
        editor.erase(add, reason="it is a result")
    wide = graph.add_argument(tensor_type((2,), float64))
    with pytest.raises(
        GraphError, match=r"Editor.replace: expected f32\[2\]@cpu in the place of exp, got f64\[2\]@cpu"
    ):
        editor.replace(exp, [wide], reason="")
    with pytest.raises(GraphError, match="a value for each output of exp, got 0 for 1"):
        editor.replace(exp, [], reason="")


def test_an_error_inside_leaves_the_order_alone() -> None:
    graph = parse_graph(CHAIN)
    before = list(graph.nodes)
    with pytest.raises(ZeroDivisionError), Editor(graph) as editor:
        editor.insert_after(None, get_op("sqrt"), graph.arguments, reason="")
        raise ZeroDivisionError
    assert graph.nodes == before


UPDATE = """
graph g(%x: f32[2]@cpu; %w: f32[2]@cpu, %lr: f32[]@cpu) {
  %0: f32[2]@cpu = neg(%w)
  %1: f32[2]@cpu = neg(%0)
  %2: f32[2]@cpu = exp(%1)
  %3: f32[2]@cpu = sgd_update(%lr, %w, %2){num_tensors=1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False}
  %4: f32[2]@cpu = sqrt(%READ)
  return %4; %w <- %3
}"""


def test_nobody_reads_instead_what_is_overwritten_before() -> None:
    early, late = parse_graph(UPDATE.replace("READ", "0")), parse_graph(UPDATE.replace("READ", "1"))
    for graph, wanted in ((early, True), (late, False)):
        editor = Editor(graph)
        assert editor.may_stand_for(graph.states[0], graph.nodes[1].outputs[0]) is wanted
        assert editor.may_stand_for(graph.arguments[0], graph.nodes[1].outputs[0])
        assert not editor.may_stand_for(graph.nodes[0].outputs[0], graph.states[0]), "it would be overwritten then"
        assert editor.may_stand_for(graph.arguments[0], graph.states[0]), "nobody overwrites arguments"
    result = parse_graph(UPDATE.replace("READ", "0").replace("return %4", "return %1"))
    assert not Editor(result).may_stand_for(result.states[0], result.nodes[1].outputs[0])


@pytest.mark.parametrize("seed", range(20))
def test_readers_stay_those_that_a_fresh_look_finds(seed: int) -> None:
    """Random edits; afterwards, and in between, another editor that starts anew agrees about everything."""
    random = np.random.default_rng(seed)
    graph = Graph()
    values = [graph.add_argument(TYPE) for _ in range(2)]
    for _ in range(15):
        chosen = [values[i] for i in random.integers(len(values), size=2)]
        values += graph.add_node(get_op("add"), chosen).outputs
    graph.outputs = [values[i] for i in random.integers(len(values), size=3)]
    for _ in range(3):
        with Editor(graph) as editor:
            for node in list(editor.nodes()):
                kind = random.integers(4)
                if kind == 0:
                    editor.replace(node, [node.inputs[0]], reason="")
                elif kind == 1 and not editor.is_read(node):
                    editor.erase(node, reason="")
                elif kind == 2:
                    new = editor.insert_before(node, get_op("mul"), node.inputs, reason="")
                    editor.replace(node, new.outputs, reason="")
            seen = {value: editor.readers(value) for node in editor.nodes() for value in node.outputs}
        verify(graph)
        fresh = Editor(graph)
        assert all(set(fresh.readers(value)) == set(readers) for value, readers in seen.items())
        assert print_graph(parse_graph(print_graph(graph))) == print_graph(graph)
