"""The memory plan as text: every number in it is the plan's."""

from __future__ import annotations

import pytest
from runtime.random_graphs import PACKED, UPDATE, make_graph

from dtrain.base.device import CPU, as_device
from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.graph import Graph
from dtrain.graph.op import get_op
from dtrain.runtime.memory_plan import plan_memory
from dtrain.runtime.memory_report import fullest, memory_report
from dtrain.runtime.storage import Storage

WANTED = """\
memory of step: 4 nodes
arena on cpu: 5.00 KiB; 3 storages, 5.00 KiB if none were shared
  of these 1 workspaces of kernels, the largest 1.00 KiB
  fullest at node 2, add  # [layer1.conv] train.py:7: 5.00 KiB live
         bytes  nodes             offset  what
         2,048  0–2                    0  %0: f32[512]@cpu = neg  # train.py:5 and 1 more over it
         2,048  2–4                2,048  %2: f32[512]@cpu = add  # [layer1.conv] train.py:7
         1,024  in 1 more
state updates: 1 in place, 0 copied home"""


def small_step() -> tuple[Graph, dict]:
    graph = Graph("step")
    wide = tensor_type((512,), float32)
    x, w = graph.add_argument(wide, "x"), graph.add_state(wide, "w")
    made = graph.add_node(get_op("neg"), [x], source="train.py:5").outputs[0]
    shown = graph.add_node(get_op("reshape"), [made], {"shape": (512,)}, source="train.py:6").outputs[0]
    added = graph.add_node(get_op("add"), [shown, x], source="train.py:7")
    added.scope = "layer1.conv"
    graph.outputs = list(added.outputs)
    graph.updates = {0: graph.add_node(UPDATE, [w, x], source="train.py:8").outputs[0]}
    return graph, {added: 1000}


def test_the_report_of_a_small_step() -> None:
    graph, asked = small_step()
    assert memory_report(graph, plan_memory(graph, asked), most=2) == WANTED


def test_a_workspace_is_named_after_its_node() -> None:
    graph, asked = small_step()
    assert "1,024  2–2                4,096  workspace of add  # [layer1.conv] train.py:7" in memory_report(
        graph, plan_memory(graph, asked)
    )


def test_buckets_are_listed_with_their_device() -> None:
    graph = Graph("g")
    x = graph.add_argument(tensor_type((1024,), float32))
    parts = [graph.add_node(get_op("neg"), [x]).outputs[0] for _ in range(2)]
    graph.outputs = list(graph.add_node(PACKED, parts).outputs)
    assert "bucket 0 on cpu: 8.00 KiB, 2 values" in memory_report(graph, plan_memory(graph))


def test_every_device_has_its_arena() -> None:
    graph = Graph("g")
    for device, size in (("cpu", 1024), ("cuda:1", 2048)):
        x = graph.add_argument(tensor_type((size,), float32, device=as_device(device)))
        graph.outputs += graph.add_node(get_op("neg"), [x]).outputs
    report = memory_report(graph, plan_memory(graph))
    assert "arena on cpu: 4.00 KiB; 1 storages" in report
    assert "arena on cuda:1: 8.00 KiB; 1 storages" in report


@pytest.mark.parametrize("seed", range(20))
def test_any_plan_has_a_report(seed: int) -> None:
    graph = make_graph(seed)
    plan = plan_memory(graph)
    report = memory_report(graph, plan, most=1000)
    assert report.count("bucket ") == len(plan.blocks)
    position, alive = fullest(plan.arena_storages)
    listed = [s for s in plan.arena_storages if s.first <= position <= s.last]
    assert sum(s.nbytes for s in listed) == alive <= plan.arena_nbytes
    assert all(f"{s.nbytes:,}  {s.first}–{s.last}" in report for s in listed)


def test_fullest_counts_both_ends_of_a_lifetime() -> None:
    lives = [(64, 0, 2), (128, 2, 3), (256, 3, 3)]
    assert fullest([Storage(nbytes, CPU, "arena", first=first, last=last) for nbytes, first, last in lives]) == (3, 384)
    assert fullest([]) == (0, 0)
