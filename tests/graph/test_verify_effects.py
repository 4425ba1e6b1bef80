"""A pass that breaks an effect is an error that names the pass, the node and its line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import dtrain.collectives.ops  # noqa: F401  registers the collective ops
from dtrain.base.errors import GraphError
from dtrain.graph.editor import Editor
from dtrain.graph.graph import Graph, Node
from dtrain.graph.op import get_op
from dtrain.graph.printer import parse_graph
from dtrain.graph.verify import verify
from dtrain.passes.pipeline import DEFAULT_PIPELINE, Pass, Pipeline

TEXT = """
graph g(%x: f32[4]@cpu, %i: s64[2]@cpu; %w: f32[4]@cpu, %state: s64[2]@cpu, %lr: f32[]@cpu) {
  %0: f32[4]@cpu = exp(%x)  # train.py:1
  %1: f32[2]@cpu = take(%x, %i){axes=(0,)}  # train.py:2
  %2: f32[4]@cpu = all_reduce(%0){group='world', op='sum'}  # train.py:3
  %3: f32[4]@cpu = all_reduce(%x){group='world', op='max'}  # train.py:4
  %4: f32[4]@cpu, %5: s64[2]@cpu = uniform(%state){shape=(4,), dtype=dtype(f32), device=device(cpu), low=0.0, high=1.0}  # train.py:5
  %6: f32[4]@cpu = exp(%w)  # train.py:6
  %7: f32[4]@cpu = sgd_update(%lr, %w, %2){num_tensors=1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False}  # train.py:7
  return %1, %3, %4, %6; %w <- %7; %state <- %5
}"""  # noqa: E501
EXP, TAKE, REDUCE, MAXIMUM, DRAW, READ, UPDATE = range(7)


def without(graph: Graph, node: Node, instead: list) -> None:
    """What a pass does that knows nothing of the editor."""
    replacement = dict(zip(node.outputs, instead))
    graph.nodes.remove(node)
    for other in graph.nodes:
        other.inputs = tuple(replacement.get(value, value) for value in other.inputs)
    graph.outputs = [replacement.get(value, value) for value in graph.outputs]


def drop_a_collective(graph: Graph) -> None:
    without(graph, graph.nodes[REDUCE], graph.nodes[EXP].outputs)


def replace_a_collective_by_its_input(graph: Graph) -> None:
    with Editor(graph) as editor:
        editor.replace(graph.nodes[MAXIMUM], graph.arguments[:1], reason="a world of one, it thinks")


def reorder_collectives(graph: Graph) -> None:
    graph.nodes[REDUCE], graph.nodes[MAXIMUM] = graph.nodes[MAXIMUM], graph.nodes[REDUCE]


def send_to_another_group(graph: Graph) -> None:
    graph.nodes[REDUCE].attrs["group"] = "other"


def repeat_a_collective(graph: Graph) -> None:
    node = graph.nodes[REDUCE]
    with Editor(graph) as editor:
        editor.insert_after(node, node.op, node.inputs, node.attrs, reason="cheaper than memory, it thinks")


def move_past_another_collective(graph: Graph) -> None:
    node = graph.nodes[REDUCE]
    with Editor(graph) as editor:
        moved = editor.insert_after(graph.nodes[MAXIMUM], node.op, node.inputs, node.attrs, reason="later")
        editor.replace(node, moved.outputs, reason="later")


def drop_a_check(graph: Graph) -> None:
    graph.outputs.pop(0)
    graph.nodes.pop(TAKE)


def replace_what_checks(graph: Graph) -> None:
    with Editor(graph) as editor:
        index = {"index": ((0, 2, 1),)}
        new = editor.insert_before(graph.nodes[TAKE], get_op("get_item"), graph.arguments[:1], index, reason="")
        editor.replace(graph.nodes[TAKE], new.outputs, reason="the first two, it thinks")


def draw_again(graph: Graph) -> None:
    node = graph.nodes[DRAW]
    with Editor(graph) as editor:
        again = editor.insert_after(node, node.op, node.inputs, node.attrs, reason="")
    graph.outputs[2] = again.outputs[0]


def update_again(graph: Graph) -> None:
    node = graph.nodes[UPDATE]
    with Editor(graph) as editor:
        again = editor.insert_after(node, node.op, node.inputs, node.attrs, reason="")
    graph.outputs.append(again.outputs[0])


def read_after_the_update(graph: Graph) -> None:
    graph.nodes.append(graph.nodes.pop(READ))


BREAKAGES: list[tuple[Callable[[Graph], None], str]] = [
    (
        drop_a_collective,
        r"every collective of group 'world' to stay, got all_reduce \(train.py:3\) gone; replace nodes",
    ),
    (replace_a_collective_by_its_input, r"every collective .* to stay, got all_reduce \(train.py:4\) gone"),
    (
        reorder_collectives,
        r"collectives in their order, got all_reduce \(train.py:4\) before all_reduce \(train.py:3\)",
    ),
    (send_to_another_group, r"every collective of group 'world' to stay, got all_reduce \(train.py:3\) gone"),
    (repeat_a_collective, r"each collective once, got all_reduce \(train.py:3\) twice"),
    (move_past_another_collective, r"collectives in their order, none past all_reduce \(train.py:4\), got one"),
    (drop_a_check, r"what take checks to be checked, got take \(train.py:2\) gone"),
    (replace_what_checks, r"what take checks to be checked, got take \(train.py:2\) gone"),
    (
        draw_again,
        r"what overwrites a value, random draws among it, to stay alone, got uniform \(train.py:5\) ag",
    ),
    (update_again, r"what overwrites a value, .*, got sgd_update \(train.py:7\) again"),
    (
        read_after_the_update,
        r"reads before sgd_update \(train.py:7\) overwrites them, got %w: f32\[4\]@cpu read behind",
    ),
]


@pytest.mark.parametrize(("breakage", "message"), BREAKAGES, ids=[item[0].__name__ for item in BREAKAGES])
def test_a_pass_that_breaks_an_effect(breakage: Callable[[Graph], None], message: str) -> None:
    graph = parse_graph(TEXT)
    with pytest.raises(GraphError, match=rf"^verify after {breakage.__name__}: expected {message}"):
        Pipeline([Pass(breakage, "")])(graph)
    verify(graph)  # well formed it is


def rename(graph: Graph) -> None:
    """Every collective replaced by an equal one, in order; a check by another; a draw moved within its place."""
    with Editor(graph) as editor:
        for node in list(editor.nodes()):
            if node.op.is_collective or node.op.name in ("take", "uniform", "sgd_update"):
                new = editor.insert_before(node, node.op, node.inputs, node.attrs, reason="")
                editor.replace(node, new.outputs, reason="")


def turn_into_one(graph: Graph) -> None:
    """Two collectives become one that stands for both."""
    first, second = graph.nodes[REDUCE], graph.nodes[MAXIMUM]
    attrs = {"group": "world", "op": "sum", "labels": ("a", "b")}
    with Editor(graph) as editor:
        copy = editor.insert_before(first, get_op("copy"), second.inputs, reason="")
        inputs = [first.inputs[0], copy.outputs[0]]
        both = editor.insert_before(first, get_op("all_reduce_many"), inputs, attrs, reason="")
        for node, value in zip((first, second), both.outputs):
            editor.replace(node, [value], reason="one message")


def prove_the_check(graph: Graph) -> None:
    with Editor(graph) as editor:
        index = {"index": ((0, 2, 1),)}
        new = editor.insert_before(graph.nodes[TAKE], get_op("get_item"), graph.arguments[:1], index, reason="")
        editor.replace(graph.nodes[TAKE], new.outputs, reason="", proven=True)


@pytest.mark.parametrize("change", [rename, turn_into_one, prove_the_check], ids=lambda change: change.__name__)
def test_what_keeps_effects_passes(change: Callable[[Graph], None]) -> None:
    graph = parse_graph(TEXT)
    Pipeline([Pass(change, "")])(graph)


def test_late_reads_that_were_there_before_are_nobodys_fault() -> None:
    """A function that gives the old weight back: eager numbers, at the cost of a copy."""
    graph = parse_graph(TEXT.replace("return %1", "return %w, %1"))
    DEFAULT_PIPELINE(graph)
    with pytest.raises(GraphError, match="reads before sgd_update"):
        Pipeline([Pass(read_after_the_update, "")])(parse_graph(TEXT.replace("return %1", "return %w, %1")))
