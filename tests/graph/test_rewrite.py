"""Rules: applied until none applies, in an order that follows from the graph, and never past an effect."""

from __future__ import annotations

import pytest

import dtrain  # noqa: F401  registers the ops
from dtrain.base.errors import GraphError
from dtrain.graph.graph import Graph, Value
from dtrain.graph.op import get_op
from dtrain.graph.pattern import Match, anything, call
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.rewrite import Rule, rewrite
from dtrain.graph.verify import verify
from dtrain.passes.eliminate_dead_code import eliminate_dead_code

X = anything("x")


def same(editor: object, match: Match) -> Value:
    return match["x"]


def becomes(op: str):
    return lambda editor, match: editor.insert_before(match.node, get_op(op), [match["x"]], reason="new").outputs[0]


TWICE = Rule(name="twice", pattern=call("neg", call("neg", X)), replacement=same, reason="for the test")


def graph_of(*lines: str, inputs: str = "%x: f32[2]@cpu; ") -> Graph:
    return parse_graph("\n".join([f"graph g({inputs}) {{", *lines, "}"]))


def chain(length: int) -> Graph:
    names = ["x", *map(str, range(length))]
    lines = [f"  %{i}: f32[2]@cpu = neg(%{names[i]})" for i in range(length)]
    return graph_of(*lines, f"  return %{length - 1}")


@pytest.mark.parametrize(("length", "result"), [(1, "0"), (2, "x"), (3, "0"), (8, "x"), (9, "0")])
def test_rules_run_until_none_applies(length: int, result: str) -> None:
    graph = chain(length)
    assert rewrite(graph, [TWICE]) == length // 2
    eliminate_dead_code(graph)
    verify(graph)
    assert f"return %{result}" in print_graph(graph)
    assert rewrite(graph, [TWICE]) == 0, "a second run finds nothing"


def test_a_rule_meets_what_another_one_made() -> None:
    graph = graph_of("  %0: f32[2]@cpu = exp(%x)", "  %1: f32[2]@cpu = exp(%0)", "  return %1")
    rules = [
        Rule(name="made of exp", pattern=call("exp", X), replacement=becomes("neg"), reason=""),
        TWICE,
    ]
    assert rewrite(graph, rules) == 3
    assert graph.outputs == graph.arguments


def test_of_two_rules_the_first_wins_at_every_node() -> None:
    one = Rule(name="one", pattern=call("exp", X), replacement=becomes("sqrt"), reason="")
    other = Rule(name="other", pattern=call("exp", X), replacement=becomes("neg"), reason="")
    for rules, name in (([one, other], "sqrt"), ([other, one], "neg")):
        graph = graph_of("  %0: f32[2]@cpu = exp(%x)", "  %1: f32[2]@cpu = exp(%0)", "  return %1")
        rewrite(graph, rules)
        assert [node.op.name for node in graph.nodes] == [name] * 2


def test_a_condition_may_refuse() -> None:
    graph = chain(2)
    rule = Rule(name="never", pattern=TWICE.pattern, replacement=same, condition=lambda match: False, reason="")
    assert rewrite(graph, [rule]) == 0


def test_the_record_says_why() -> None:
    graph = chain(2)
    rewrite(graph, [TWICE])
    assert [(change.kind, change.reason) for change in graph.changes] == [("replace", "twice: for the test")]


def test_rules_without_end_are_an_error() -> None:
    there = Rule(name="there", pattern=call("exp", X), replacement=becomes("sqrt"), reason="")
    back = Rule(name="back", pattern=call("sqrt", X), replacement=becomes("exp"), reason="")
    graph = graph_of("  %0: f32[2]@cpu = exp(%x)", "  return %0")
    with pytest.raises(
        GraphError, match=r"rewrite: expected rules that come to an end, got (there|back) again and again"
    ):
        rewrite(graph, [there, back])


def test_a_value_of_another_type_is_an_error() -> None:
    graph = graph_of("  %0: f64[2]@cpu = cast(%x){dtype=dtype(f64)}", "  return %0")
    rule = Rule(name="wrong", pattern=call("cast", X), replacement=same, reason="")
    with pytest.raises(GraphError, match=r"rule wrong: expected a value of type f64\[2\]@cpu, got f32\[2\]@cpu"):
        rewrite(graph, [rule])


def test_what_checks_values_stays_unless_the_rule_keeps_the_check() -> None:
    lines = "  %0: s32[2]@cpu = floor_div(%x, %x)", "  return %0"
    for keeps, count in ((False, 0), (True, 1)):
        graph = graph_of(*lines, inputs="%x: s32[2]@cpu; ")
        pattern = call("floor_div", X, anything("y"))
        rule = Rule(name="div", pattern=pattern, replacement=same, reason="", keeps_check=keeps)
        assert rewrite(graph, [rule]) == count
        assert [change.proven for change in graph.changes] == [True] * count


UPDATE = (
    "  %0: f32[2]@cpu = neg(%w)",
    "  %1: f32[2]@cpu = neg(%0)",
    "  %2: f32[2]@cpu = sgd_update(%lr, %w, %1){num_tensors=1, momentum=0.0, dampening=0.0, weight_decay=0.0, "
    "nesterov=False}",
)


def test_no_rule_reads_what_is_overwritten_by_then() -> None:
    """The gradient may be read out of the weight itself before the update of it, the old weight not behind it."""
    inputs = "; %w: f32[2]@cpu, %lr: f32[]@cpu"
    behind = graph_of(*UPDATE, "  %3: f32[2]@cpu = exp(%1)", "  return %3; %w <- %2", inputs=inputs)
    result = graph_of(*UPDATE, "  return %1; %w <- %2", inputs=inputs)
    before = graph_of(UPDATE[0], UPDATE[1], "  %2: f32[2]@cpu = exp(%1)", UPDATE[2].replace("%2:", "%3:").replace(
        "%1)", "%2)"), "  return %2; %w <- %3", inputs=inputs)  # fmt: skip
    assert [rewrite(graph, [TWICE]) for graph in (behind, result, before)] == [0, 0, 1]
