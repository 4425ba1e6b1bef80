"""Dead-code elimination, before and after as text."""

from __future__ import annotations

import dtrain.collectives.ops.collective_ops  # noqa: F401  registers the collective ops
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify
from dtrain.passes.eliminate_dead_code import eliminate_dead_code


def check(before: str, after: str) -> None:
    graph = parse_graph(before)
    verify(graph)
    eliminate_dead_code(graph)
    verify(graph)
    assert print_graph(graph) == after.strip()


def test_nodes_that_nobody_reads_go_with_what_only_they_read() -> None:
    check(
        """
graph g(%x: f32[2]@cpu; ) {
  %0: f32[2]@cpu = neg(%x)
  %1: f32[2]@cpu = exp(%0)
  %2: f32[2]@cpu = sqrt(%x)
  %3: f32[2]@cpu = add(%2, %x)
  %4: f32[2]@cpu = add(%1, %3)
  return %3
}""",
        """
graph g(%x: f32[2]@cpu; ) {
  %0: f32[2]@cpu = sqrt(%x)
  %1: f32[2]@cpu = add(%0, %x)
  return %1
}""",
    )


def test_updates_are_results_and_unread_states_stay() -> None:
    check(
        """
graph g(; %w: f32[2]@cpu, %unused: f32[2]@cpu) {
  %0: f32[2]@cpu = neg(%w)
  %1: f32[2]@cpu = exp(%w)
  return ; %w <- %0
}""",
        """
graph g(; %w: f32[2]@cpu, %unused: f32[2]@cpu) {
  %0: f32[2]@cpu = neg(%w)
  return ; %w <- %0
}""",
    )


def test_one_read_output_keeps_the_node() -> None:
    text = """
graph g(%x: f32[4]@cpu; ) {
  %0: f32[2]@cpu, %1: s64[2]@cpu = topk(%x){k=2, axis=0, largest=True, sorted=True}
  return %1
}"""
    graph = parse_graph(text)
    verify(graph)
    eliminate_dead_code(graph)
    assert [node.op.name for node in graph.nodes] == ["topk"]


def test_collectives_and_what_they_read_stay() -> None:
    import numpy as np

    import dtrain as dt
    from dtrain import collectives as dist
    from dtrain.collectives.transports.self_communicator import SelfCommunicator
    from dtrain.collectives.world.context import using

    def step(x):
        dist.all_reduce(x * 2)
        x * 3
        return x

    traced = dt.trace(passes=lambda graph: graph)(step)
    with using(SelfCommunicator()):  # a world that ends here: what runs later in this process finds none
        traced(np.ones(2, np.float32))
    graph = traced.graphs[0]
    assert sum(node.op.name == "mul" for node in graph.nodes) == 2
    eliminate_dead_code(graph)
    names = [node.op.name for node in graph.nodes]
    assert names.count("mul") == 1
    assert sum(node.op.is_collective for node in graph.nodes) == 1


def test_ops_that_check_values_stay_where_they_check() -> None:
    import numpy as np

    import dtrain as dt
    import dtrain.functional as F

    def step(x, i):
        x[i]
        F.floor_div(i, i), F.floor_div(x, x)
        return x

    traced = dt.trace(passes=lambda graph: graph)(step)
    traced(np.ones(2, np.float32), np.ones(2, np.int64))
    graph = traced.graphs[0]
    eliminate_dead_code(graph)
    kept = [(node.op.name, node.inputs[0].type.dtype.tag) for node in graph.nodes]
    assert kept == [("take", "f32"), ("floor_div", "s64")]
