"""Patterns: what matches, and what only looks alike."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain  # noqa: F401  registers the ops
from dtrain.base.dtype import as_dtype
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph
from dtrain.graph.pattern import Pattern, anything, call, filled_with, match
from dtrain.graph.printer import parse_graph

TEXT = """
graph g(%x: f32[2]@cpu, %y: f32[2]@cpu; ) {
  %0: f32[2]@cpu = exp(%x)
  %1: f32[2]@cpu = add(%0, %y)
  %2: f32[2]@cpu = add(%0, %0)
  %3: f64[2]@cpu = cast(%1){dtype=dtype(f64)}
  return %2, %3
}"""
X = anything("x")


@pytest.mark.parametrize(
    ("pattern", "position", "found"),
    [
        (call("add", X, anything("y")), 1, True),
        (call("add", X, anything("y")), 2, True),
        (call("add", X, X), 1, False),
        (call("add", X, X), 2, True),
        (call("add", X), 1, False),
        (call("exp", X), 1, False),
        (call("add", call("exp", X), anything("y")), 1, True),
        (call("add", anything("y"), call("exp", X)), 1, False),
        (call("add", call("exp", X), call("exp", X)), 2, True),
        (call("add", call("exp", X, name="e"), call("exp", X, name="e")), 2, True),
        (call("cast", call("add", call("exp", X), X)), 3, False),
        (call("cast", X, dtype=as_dtype("f64")), 3, True),
        (call("cast", X, dtype=as_dtype("f32")), 3, False),
        (call("cast", X, device=None), 3, False),
    ],
)
def test_structure_attributes_and_names(pattern: Pattern, position: int, found: bool) -> None:
    assert (match(pattern, parse_graph(TEXT).nodes[position]) is not None) is found


def test_a_match_knows_what_it_found() -> None:
    graph = parse_graph(TEXT)
    exp, _, _, cast = graph.nodes
    found = match(call("cast", call("add", call("exp", X, name="e"), anything("y")), name="c"), cast)
    assert found is not None and found.node is cast and found.output is cast.outputs[0]
    assert (found["x"], found["y"]) == tuple(graph.arguments)
    assert found["e"] is exp.outputs[0]
    assert found["c"] is cast.outputs[0]


@pytest.mark.parametrize(
    ("array", "number", "found"),
    [
        (np.float32([0.0, 0.0]), 0, True),
        (np.float32([0.0, -0.0]), 0, False),
        (np.float32(-0.0), -0.0, True),
        (np.float32(0.0), -0.0, False),
        (np.float32([1, 1]), 1, True),
        (np.float32([1, 2]), 1, False),
        (np.float32([np.nan]), np.nan, False),
        (np.int32([[1], [1]]), 1, True),
        (np.int8([-1]), 255, False),
        (np.int64(0), 0, True),
        (np.bool_(True), 1, False),
        (np.float32([]), 0, False),
    ],
)
def test_a_constant_is_filled_with_a_number_to_the_bit(array: np.ndarray, number: float, found: bool) -> None:
    graph = Graph()
    value = graph.add_node(CONSTANT, [], {"value": np.asarray(array)}).outputs[0]
    node = graph.add_node(parse_graph(TEXT).nodes[2].op, [value, value])
    assert (match(call("add", filled_with(number), X), node) is not None) is found
