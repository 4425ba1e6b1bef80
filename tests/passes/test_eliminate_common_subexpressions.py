"""Common subexpressions, before and after as text."""

from __future__ import annotations

import pytest

import dtrain  # noqa: F401  registers the ops
from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.graph import Graph
from dtrain.graph.op import Op
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify
from dtrain.passes.eliminate_common_subexpressions import eliminate_common_subexpressions


def run(before: str) -> str:
    graph = parse_graph(before)
    verify(graph)
    eliminate_common_subexpressions(graph)
    verify(graph)
    return print_graph(graph)


def test_equal_nodes_become_one_and_so_do_their_readers() -> None:
    after = run(
        """
graph g(%x: f32[2]@cpu; %w: f32[2]@cpu) {
  %0: f32[2]@cpu = add(%x, %w)
  %1: f32[2]@cpu = add(%x, %w)
  %2: f32[2]@cpu = exp(%0)
  %3: f32[2]@cpu = exp(%1)
  %4: f32[2]@cpu = mul(%2, %3)
  return %4, %3; %w <- %1
}"""
    )
    assert (
        after
        == """
graph g(%x: f32[2]@cpu; %w: f32[2]@cpu) {
  %0: f32[2]@cpu = add(%x, %w)
  %1: f32[2]@cpu = exp(%0)
  %2: f32[2]@cpu = mul(%1, %1)
  return %2, %1; %w <- %0
}""".strip()
    )


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ("clip(%x){low=0, high=1}", "clip(%x){low=0, high=1}", True),
        ("clip(%x){low=0.0, high=1}", "clip(%x){low=-0.0, high=1}", False),
        ("clip(%x){low=0, high=1}", "clip(%x){low=0.0, high=1}", False),
        ("clip(%x){low=0, high=1}", "clip(%x){low=0, high=True}", False),
        ("clip(%x){low='nan'::float, high=1}", "clip(%x){low='nan'::float, high=1}", True),
        ("add(%x, %y)", "add(%y, %x)", False),
        ("add(%x, %y)", "sub(%x, %y)", False),
        ("constant(){value=array(f32[2] 0000000000000000)}", "constant(){value=array(f32[2] 0000000000000000)}", True),
        ("constant(){value=array(f32[2] 0000000000000000)}", "constant(){value=array(f32[2] 0000008000000000)}", False),
    ],
)
def test_only_what_is_equal_to_the_bit_is_merged(first: str, second: str, merged: bool) -> None:
    after = run(
        f"""
graph g(%x: f32[2]@cpu, %y: f32[2]@cpu; ) {{
  %0: f32[2]@cpu = {first}
  %1: f32[2]@cpu = {second}
  return %0, %1
}}"""
    )
    assert ("return %0, %0" in after) == merged


def test_constants_of_other_dtypes_and_shapes_stay_apart() -> None:
    texts = [
        "f32[2] 0000000000000000",
        "s32[2] 0000000000000000",
        "s64[1] 0000000000000000",
        "f32[1,2] 0000000000000000",
    ]
    nodes = "\n".join(
        f"  %{i}: {text.split()[0]}@cpu = constant(){{value=array({text})}}" for i, text in enumerate(texts)
    )
    after = run(f"graph g(; ) {{\n{nodes}\n  return %0, %1, %2, %3\n}}")
    assert "return %0, %1, %2, %3" in after


@pytest.mark.parametrize("options", [{"is_collective": True}, {"aliases": {0: 0}}], ids=str)
def test_collectives_and_updates_are_left_alone(options: dict) -> None:
    op = Op(name="special", infer=lambda x: x, **options)
    graph = Graph()
    x = graph.add_argument(tensor_type((2,), float32))
    graph.outputs = [graph.add_node(op, [x]).outputs[0] for _ in range(2)]
    eliminate_common_subexpressions(graph)
    assert len(graph.nodes) == 2
    assert graph.outputs[0] is not graph.outputs[1]


def test_a_collective_reads_the_merged_value() -> None:
    op = Op(name="special", infer=lambda x: x, is_collective=True)
    graph = parse_graph(
        """
graph g(%x: f32[2]@cpu; ) {
  %0: f32[2]@cpu = exp(%x)
  %1: f32[2]@cpu = exp(%x)
  return %0
}"""
    )
    node = graph.add_node(op, [graph.nodes[1].outputs[0]])
    eliminate_common_subexpressions(graph)
    assert node.inputs == graph.nodes[0].outputs
    verify(graph)
