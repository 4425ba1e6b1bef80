"""The text form: print, parse, print gives the same text, for every op and every part of a graph."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.op_calls import call_of, case_id, make_arrays, op_cases

import dtrain as dt
from dtrain.base.dtype import float32
from dtrain.base.errors import GraphError
from dtrain.base.tensor_type import tensor_type
from dtrain.core.tensor import wrap
from dtrain.graph.graph import Graph
from dtrain.graph.op import Op, get_op
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify

TYPE = tensor_type((2, 3), float32)
STEP = """\
graph step(%x: f32[8,64]@cpu; %w: f32[64,10]@cpu, %count: s64[]@cpu) {
  %0: f32[8,10]@cpu = matmul(%x, %w){transpose_a=False, transpose_b=False}  # train.py:12
  %1: f32[64,10]@cpu = mul(%w, %w)
  %2: s64[]@cpu = constant(){value=array(s64[] 0100000000000000)}
  %3: s64[]@cpu = add(%count, %2)  # deep dir/a}b.py:3
  return %0, %x; %w <- %1; %count <- %3
}"""


def graph_of(op: Op, number: int) -> Graph:
    """One node, with the inputs of a call as arguments."""
    graph = Graph("call")
    dtype = op.dtypes[0] if op.dtypes else float32
    inputs = [graph.add_argument(wrap(array).type) for array in make_arrays(op, number, dtype)]
    graph.outputs = list(graph.add_node(op, inputs, call_of(op, number).attrs, source="calls.py:1").outputs)
    return graph


CALLS = list(op_cases(lambda op: not op.is_dynamic))


@pytest.mark.parametrize(("op", "number"), CALLS, ids=case_id)
def test_every_call_of_every_op_reads_back(op: Op, number: int) -> None:
    text = print_graph(graph_of(op, number))
    parsed = parse_graph(text)
    assert print_graph(parsed) == text
    verify(parsed)


def test_the_registry_was_enumerated() -> None:
    assert len({op.name for op, _ in CALLS}) > 80


def test_a_whole_step_reads_back() -> None:
    graph = parse_graph(STEP)
    assert print_graph(graph) == STEP
    assert [value.name for value in graph.inputs] == ["x", "w", "count"]
    assert [node.source for node in graph.nodes] == ["train.py:12", "", "", "deep dir/a}b.py:3"]
    assert graph.updates == {0: graph.nodes[1].outputs[0], 1: graph.nodes[3].outputs[0]}
    verify(graph)


@pytest.mark.parametrize("scope", ["", "layer1.0.conv1", "β"])
@pytest.mark.parametrize("source", ["", "train.py:12", "[x] y.py:3", "] z.py:4", "a # b.py:1", "[train.py:5"])
def test_where_a_node_comes_from_reads_back(scope: str, source: str) -> None:
    graph = parse_graph(STEP)
    graph.nodes[0].scope, graph.nodes[0].source = scope, source
    text = print_graph(graph)
    parsed = parse_graph(text)
    assert (parsed.nodes[0].scope, parsed.nodes[0].source) == (scope, source)
    assert print_graph(parsed) == text


def test_sources_can_be_left_out() -> None:
    without = print_graph(parse_graph(STEP), sources=False)
    assert "#" not in without
    assert print_graph(parse_graph(without)) == without


def test_a_traced_training_step_reads_back() -> None:
    weight = dt.Parameter(np.ones((3, 2), np.float32), name="layer.0.weight")
    optimizer = dt.optim.SGD([weight], lr=0.1, momentum=0.9)

    @dt.trace
    def step(x):
        loss = (x @ weight).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    step(np.ones((4, 3), np.float32))
    text = print_graph(step.graphs[0])
    assert "%layer.0.weight: f32[3,2]@cpu" in text
    assert "%layer.0.weight <- " in text
    assert "# test_printer.py:" in text
    assert print_graph(parse_graph(text)) == text


def test_names_are_kept_where_they_are_unique_and_harmless() -> None:
    graph = Graph("a b")
    for name in ("in1", "", "w", "w", "3", "has space", "β.1", "in4"):
        graph.add_argument(TYPE, name)
    graph.outputs = graph.inputs[:1]
    text = print_graph(graph)
    assert print_graph(parse_graph(text)) == text
    names = [value.name for value in parse_graph(text).inputs]
    assert len(set(names)) == 8
    assert [names[i] for i in (0, 2, 5, 6, 7)] == ["in1", "w", "has_space", "β.1", "in4"]


def test_a_node_without_outputs_reads_back() -> None:
    op = Op(name="constant", infer=lambda x: ())
    graph = Graph()
    x = graph.add_argument(TYPE, "x")
    graph.add_node(op, [x])
    graph.outputs = [x]
    text = print_graph(graph)
    assert "\n  constant(%x)\n" in text
    assert print_graph(parse_graph(text)) == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("graph step(", "step(", "graph name\\(arguments; states\\)"),
        ("\n}", "\n", "graph name\\(arguments; states\\)"),
        ("matmul(%x, %w)", "matmul %x %w", r"%out: type = op\(%in\)\{attrs\}, got %0: f32\[8,10\]@cpu = matmul"),
        ("matmul(%x", "matmull(%x", "expected a registered op, got 'matmull'"),
        ("matmul(%x", "matmul(%y", "a value that an earlier line defines, got %y"),
        ("mul(%w, %w)", "mul(%3, %w)", "a value that an earlier line defines, got %3"),
        ("%1: f32", "%0: f32", "each value defined once, got %0 again"),
        ("%w: f32", "%x: f32", "each value defined once, got %x again"),
        ("f32[8,10]", "f32[8,10", "text such as"),
        ("value=", "", "attributes such as axis=1"),
        ("return %0, %x", "return %9", "a value that an earlier line defines, got %9"),
        ("return", "give", "return %value, …; %state <- %value at the end, got give"),
        ("%w <- %1", "%x <- %1", "an update of a state, got %x <- %1"),
        ("%count <- %3", "%count <- %7", "a value that an earlier line defines, got %7"),
    ],
)
def test_broken_text_names_what_is_broken(old: str, new: str, message: str) -> None:
    assert old in STEP
    with pytest.raises(GraphError, match=message):
        parse_graph(STEP.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "\n", "graph g(; ) {", "graph g(; ) {\n}"])
def test_too_little_text(text: str) -> None:
    with pytest.raises(GraphError, match="graph name"):
        parse_graph(text)


def test_an_empty_graph_reads_back() -> None:
    text = print_graph(Graph())
    assert text == "graph graph(; ) {\n  return \n}"
    assert print_graph(parse_graph(text)) == text


def test_a_parsed_graph_holds_real_ops() -> None:
    node = parse_graph(STEP).nodes[0]
    assert node.op is get_op("matmul")
    assert node.outputs[0].node is node
