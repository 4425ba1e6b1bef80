"""What nodes do besides computing, and what may therefore be done with them."""

from __future__ import annotations

import pytest

import dtrain.collectives.ops  # noqa: F401  registers the collective ops
from dtrain.graph.effects import (
    checks_values,
    group_of,
    may_drop,
    may_merge,
    memory_of,
    writes_of,
)  # fmt: skip
from dtrain.graph.graph import Graph, Node
from dtrain.graph.printer import parse_graph

TEXT = """
graph g(%x: f32[4]@cpu, %i: s64[2]@cpu; %w: f32[4]@cpu, %state: s64[2]@cpu, %lr: f32[]@cpu) {
  %0: f32[4]@cpu = exp(%x)
  %1: f32[2]@cpu = take(%x, %i){axes=(0,)}
  %2: f32[4]@cpu = all_reduce(%0){group='world', op='sum'}
  %3: f32[2,2]@cpu = reshape(%w){shape=(2, 2)}
  %4: f32[3]@cpu, %5: s64[2]@cpu = uniform(%state){shape=(3,), dtype=dtype(f32), device=device(cpu), low=0.0, high=1.0}
  %6: f32[4]@cpu = sgd_update(%lr, %w, %2){num_tensors=1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False}
  %7: f32[2,2]@cpu = exp(%3)
  %8: f32[4]@cpu = all_reduce(%x){group='other', op='sum'}
  %9: s64[2]@cpu = constant(){value=array(s64[2] 00000000000000000000000000000000)}
  %10: f32[3]@cpu, %11: s64[2]@cpu = uniform(%9){shape=(3,), dtype=dtype(f32), device=device(cpu), low=0.0, high=1.0}
  return %1, %4, %7, %8, %10; %w <- %6; %state <- %5
}"""


@pytest.fixture
def graph() -> Graph:
    return parse_graph(TEXT)


def has_effects(node: Node) -> bool:
    return group_of(node) is not None or checks_values(node) or bool(writes_of(node))


def test_each_kind_of_effect(graph: Graph) -> None:
    exp, take, reduce, view, draw, update, _, other, constant, drawn = graph.nodes
    w, state, _ = graph.states
    assert [group_of(node) for node in (exp, reduce, other)] == [None, "world", "other"]
    assert [checks_values(node) for node in (exp, take, update)] == [False, True, False]
    assert writes_of(draw) == (state,)
    assert writes_of(update) == (w,)
    assert writes_of(drawn) == (), "nobody overwrites a constant"
    assert not any(map(has_effects, (exp, view, constant)))
    assert all(map(has_effects, (take, reduce, draw, update)))


def test_what_follows_from_them(graph: Graph) -> None:
    exp, take, reduce, view, draw, update, *_ = graph.nodes
    nodes = (exp, take, reduce, view, draw, update)
    assert [may_merge(node) for node in nodes] == [True, True, False, True, False, False]
    assert [may_drop(node) for node in nodes] == [True, False, False, True, True, True]


def test_checks_may_depend_on_types() -> None:
    text = "graph g(%x: {0}[2]@cpu; ) {{\n  %0: {0}[2]@cpu = floor_div(%x, %x)\n  return %0\n}}"
    assert [may_drop(parse_graph(text.format(tag)).nodes[0]) for tag in ("f32", "s32")] == [True, False]


def test_a_view_shows_the_memory_of_what_it_is_a_view_of(graph: Graph) -> None:
    assert memory_of(graph.nodes[3].outputs[0]) is graph.states[0]
    assert memory_of(graph.nodes[0].outputs[0]) is graph.nodes[0].outputs[0]
