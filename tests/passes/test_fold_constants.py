"""Constant folding: what becomes a constant, with which bits, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph
from dtrain.graph.op import Op, get_op
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify
from dtrain.passes.fold_constants import MAX_FOLDED_NBYTES, fold_constants

TYPE = tensor_type((2,), float32)


def constants(graph: Graph) -> list[np.ndarray]:
    return [node.attrs["value"] for node in graph.nodes if node.op is CONSTANT]


def test_what_depends_on_constants_alone_is_computed() -> None:
    graph = parse_graph(
        """
graph g(%x: f32[2]@cpu; ) {
  %0: f32[2]@cpu = full(){shape=(2,), value=3, dtype=dtype(f32), device=device(cpu)}
  %1: f32[2]@cpu = constant(){value=array(f32[2] 0000803f00000040)}
  %2: f32[2]@cpu = add(%0, %1)
  %3: f32[1,2]@cpu = reshape(%2){shape=(1, 2)}
  %4: f32[1,2]@cpu = add(%3, %x)
  return %4, %2
}"""
    )
    fold_constants(graph)
    verify(graph)
    assert [node.op.name for node in graph.nodes] == ["constant"] * 4 + ["add"]
    assert [array.tolist() for array in constants(graph)] == [[3, 3], [1, 2], [4, 5], [[4, 5]]]
    assert "add(%3, %x)" in print_graph(graph)
    assert "return %4, %2" in print_graph(graph)


@pytest.mark.parametrize("value", [0.0, -0.0, 1, True, 1.0], ids=repr)
def test_folded_bits_are_those_of_a_run(value: float) -> None:
    """-0.0 equals 0.0, and both may have been computed before."""
    for before in (0.0, -0.0, 1, True):
        dt.full(2, before, dtype="f32")
    graph = Graph()
    attrs = {"shape": (2,), "value": value, "dtype": float32, "device": TYPE.device}
    graph.outputs = list(graph.add_node(get_op("full"), [], attrs).outputs)
    fold_constants(graph)
    assert constants(graph)[0].tobytes() == np.full(2, value, np.float32).tobytes()


def test_folded_arrays_are_read_only_and_their_own() -> None:
    graph = parse_graph(
        """
graph g(; ) {
  %0: f32[2]@cpu = constant(){value=array(f32[2] 0000803f00000040)}
  %1: f32[2,1]@cpu = reshape(%0){shape=(2, 1)}
  return %1
}"""
    )
    fold_constants(graph)
    first, second = constants(graph)
    assert not second.flags.writeable
    assert not np.may_share_memory(first, second)


def test_sources_are_kept() -> None:
    graph = Graph()
    attrs = {"n": 2, "m": 2, "dtype": float32, "device": TYPE.device}
    graph.outputs = list(graph.add_node(get_op("eye"), [], attrs, source="a.py:1").outputs)
    fold_constants(graph)
    assert [node.source for node in graph.nodes] == ["a.py:1"]


def test_large_results_are_made_at_every_run() -> None:
    graph = Graph()
    size = MAX_FOLDED_NBYTES // 4
    for count in (size, size + 1):
        attrs = {"shape": (count,), "value": 0, "dtype": float32, "device": TYPE.device}
        graph.outputs += graph.add_node(get_op("full"), [], attrs).outputs
    fold_constants(graph)
    assert [node.op.name for node in graph.nodes] == ["constant", "full"]


@pytest.mark.parametrize("options", [{"is_collective": True}, {"aliases": {0: 0}}], ids=str)
def test_collectives_and_updates_are_not_computed_ahead(options: dict) -> None:
    op = Op(name="special", infer=lambda x: x, **options)
    graph = Graph()
    constant = graph.add_node(CONSTANT, [], {"value": np.zeros(2, np.float32)})
    graph.outputs = list(graph.add_node(op, constant.outputs).outputs)
    fold_constants(graph)
    assert [node.op.name for node in graph.nodes] == ["constant", "special"]


def test_states_and_arguments_are_no_constants() -> None:
    graph = parse_graph("graph g(%x: f32[2]@cpu; %w: f32[2]@cpu) {\n  %0: f32[2]@cpu = add(%x, %w)\n  return %0\n}")
    before = print_graph(graph)
    fold_constants(graph)
    assert print_graph(graph) == before
