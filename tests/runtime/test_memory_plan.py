"""Memory plan: nothing alive is overwritten, memory is used again, views and updates share only where that is safe."""

from __future__ import annotations

import numpy as np
import pytest
from runtime.random_graphs import PACKED, UPDATE, make_graph

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.dtype import float32
from dtrain.base.errors import GraphError
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.graph import Graph, Value
from dtrain.graph.op import get_op
from dtrain.graph.printer import parse_graph
from dtrain.runtime.memory_plan import MemoryPlan, plan_memory

TYPE = tensor_type((4, 4), float32)


def chain(length: int) -> Graph:
    graph = Graph()
    value = graph.add_argument(TYPE)
    for _ in range(length):
        value = graph.add_node(get_op("neg"), [value]).outputs[0]
    graph.outputs = [value]
    return graph


def arena_of(plan: MemoryPlan) -> list:
    return [s for s in dict.fromkeys(plan.storage.values()) if s.place == "arena" and s.block is None]


@pytest.mark.parametrize("seed", range(60))
def test_storages_that_live_at_once_do_not_overlap(seed: int) -> None:
    plan = plan_memory(make_graph(seed))
    storages = arena_of(plan)
    for position, first in enumerate(storages):
        assert first.offset % ALIGNMENT == 0
        assert first.offset + first.nbytes <= plan.arena_nbytes
        for second in storages[:position]:
            if first.first <= second.last and second.first <= first.last:
                assert first.offset + first.nbytes <= second.offset or second.offset + second.nbytes <= first.offset


@pytest.mark.parametrize("seed", range(60))
def test_lifetimes_cover_every_read(seed: int) -> None:
    graph = make_graph(seed)
    plan = plan_memory(graph)
    for position, node in enumerate(graph.nodes):
        for value in node.inputs:
            assert plan.storage[value].first <= position <= plan.storage[value].last
    for value in graph.outputs:
        assert plan.storage[value].last == len(graph.nodes)


def test_a_chain_needs_two_places() -> None:
    plan = plan_memory(chain(20))
    assert plan.arena_nbytes == 2 * TYPE.nbytes
    assert plan.total_nbytes == 20 * TYPE.nbytes


def test_an_output_is_kept_to_the_end() -> None:
    graph = chain(5)
    graph.outputs.append(graph.nodes[0].outputs[0])
    plan = plan_memory(graph)
    kept = plan.storage[graph.nodes[0].outputs[0]]
    others = [plan.storage[node.outputs[0]] for node in graph.nodes[1:]]
    assert all(other.offset != kept.offset for other in others)


def test_a_large_value_finds_the_gap_of_small_ones_that_died() -> None:
    small, large = tensor_type((64,), float32), tensor_type((128,), float32)
    graph = Graph()
    x, y = graph.add_argument(small), graph.add_argument(large)
    first = graph.add_node(get_op("neg"), [x]).outputs[0]
    second = graph.add_node(get_op("neg"), [first]).outputs[0]
    graph.add_node(get_op("add"), [first, second])
    graph.outputs = [graph.add_node(get_op("neg"), [y]).outputs[0]]
    plan = plan_memory(graph)
    assert plan.arena_nbytes == 3 * small.nbytes


# Devices --------------------------------------------------------------------------------------------------------------

TWO_DEVICES = """
graph g(%x: f32[64]@cpu; ) {
  %0: f32[64]@cpu = neg(%x)
  %1: f32[64]@cuda:1 = to_device(%0){device=device(cuda:1)}
  %2: f32[64]@cuda:1 = neg(%1)
  %3: f32[64]@cuda:1 = add(%1, %2)
  %4: f32[64]@cpu = to_device(%3){device=device(cpu)}
  return %4
}"""


def test_every_device_has_an_arena_of_what_lives_there() -> None:
    """Planned without a GPU, since a plan allocates nothing."""
    graph = parse_graph(TWO_DEVICES)
    plan = plan_memory(graph)
    assert {str(device): nbytes for device, nbytes in plan.arenas.items()} == {"cpu": 256, "cuda:1": 768}
    assert plan.arena_nbytes == 1024
    for node in graph.nodes:
        assert plan.storage[node.outputs[0]].device is node.outputs[0].type.device


def test_a_device_that_holds_only_arguments_has_no_arena() -> None:
    plan = plan_memory(parse_graph("graph g(%x: f32[64]@cuda:0, %y: f32[64]@cpu; ) {\n  return %x, %y\n}"))
    assert plan.arenas == {}


# Workspaces -----------------------------------------------------------------------------------------------------------


def test_a_workspace_lies_beside_what_lives_while_its_node_runs() -> None:
    graph = chain(4)
    plan = plan_memory(graph, {graph.nodes[2]: 1000})
    (workspace,) = plan.workspaces.values()
    assert (workspace.nbytes, workspace.first, workspace.last) == (1024, 2, 2)
    beside = [plan.storage[graph.nodes[index].outputs[0]] for index in (1, 2)]
    assert workspace.offset == 0, "the largest is placed first"
    assert sorted(storage.offset for storage in beside) == [1024, 1024 + TYPE.nbytes]
    assert plan.arena_nbytes == 1024 + 2 * TYPE.nbytes
    assert plan.total_nbytes == 1024 + 4 * TYPE.nbytes


def test_workspaces_of_nodes_one_after_another_are_the_same_memory() -> None:
    graph = chain(6)
    plan = plan_memory(graph, dict.fromkeys(graph.nodes, 4096))
    assert len(plan.workspaces) == 6
    assert plan.arena_nbytes == 4096 + 2 * TYPE.nbytes


@pytest.mark.parametrize("seed", range(30))
def test_workspaces_overlap_nothing_that_their_node_touches(seed: int) -> None:
    graph = make_graph(seed)
    plan = plan_memory(graph, {node: 64 * len(node.op.name) for node in graph.nodes if node.op.view is None})
    assert plan.workspaces
    for node, workspace in plan.workspaces.items():
        for value in (*node.inputs, *node.outputs):
            storage = plan.storage[value]
            if storage.place == "arena" and storage.block is None:
                apart = storage.offset + storage.nbytes <= workspace.offset
                assert apart or workspace.offset + workspace.nbytes <= storage.offset


# Copies ---------------------------------------------------------------------------------------------------------------

SCATTERED = """
graph g(%x: f32[8,16]@cpu; ) {
  %0: f32[8,16]@cpu = neg(%x)
  %1: f32[16,8]@cpu = transpose(%0){axes=(1, 0)}
  %2: f32[16,8]@cpu = add(%1, %1)
  %3: f32[128]@cpu = reshape(%0){shape=(128,)}
  %4: f32[128]@cpu = add(%3, %3)
  return %2, %4
}"""


def test_inputs_with_gaps_have_room_for_a_copy_where_their_kernel_needs_one() -> None:
    graph = parse_graph(SCATTERED)
    transposed, add, flat_add = (graph.nodes[index] for index in (1, 2, 4))
    assert not plan_memory(graph).copies
    plan = plan_memory(graph, needs_contiguous={add, flat_add})
    ((key, copy),) = plan.copies.items()
    assert key == (add, transposed.outputs[0]), "a reshape of what lies in order does too"
    assert (copy.nbytes, copy.first, copy.last) == (512, 2, 2)
    assert plan.arena_nbytes == 3 * 512


@pytest.mark.parametrize("seed", range(30))
def test_copies_overlap_nothing_that_their_node_touches(seed: int) -> None:
    graph = make_graph(seed)
    plan = plan_memory(graph, needs_contiguous=set(graph.nodes))
    for (node, value), copy in plan.copies.items():
        assert value in node.inputs
        touched = [plan.storage[other] for other in (*node.inputs, *node.outputs)]
        touched += [storage for (other, _), storage in plan.copies.items() if other is node and storage is not copy]
        for storage in touched:
            if storage.place == "arena" and storage.block is None:
                assert storage.offset + storage.nbytes <= copy.offset or copy.offset + copy.nbytes <= storage.offset


# Views ----------------------------------------------------------------------------------------------------------------

VIEWS = """
graph g(%x: f32[2,3]@cpu; %w: f32[2,3]@cpu) {
  %0: f32[2,3]@cpu = neg(%x)
  %1: f32[3,2]@cpu = transpose(%0){axes=(1, 0)}
  %2: f32[6]@cpu = reshape(%0){shape=(6,)}
  %3: f32[6]@cpu = reshape(%1){shape=(6,)}
  %4: f32[6]@cpu = reshape(%w){shape=(6,)}
  %5: f32[6]@cpu = add(%2, %3)
  %6: f32[6]@cpu = add(%5, %4)
  return %6
}"""


def test_views_share_and_reshapes_that_must_copy_do_not() -> None:
    graph = parse_graph(VIEWS)
    plan = plan_memory(graph)
    made = [plan.storage[node.outputs[0]] for node in graph.nodes]
    assert made[1] is made[0]
    assert made[2] is made[0]
    assert made[3] is not made[0], "the rows of a transposed matrix do not lie one after another"
    assert made[4] is plan.storage[graph.states[0]]
    assert made[0].last == 5, "a view keeps what it shows alive"


# Updates --------------------------------------------------------------------------------------------------------------


def update_graph() -> tuple[Graph, Value, Value]:
    graph = Graph()
    x, w = graph.add_argument(TYPE, "x"), graph.add_state(TYPE, "w")
    return graph, x, w


def test_an_update_op_writes_into_its_state() -> None:
    graph, x, w = update_graph()
    new = graph.add_node(UPDATE, [w, x]).outputs[0]
    graph.updates = {0: new}
    plan = plan_memory(graph)
    assert plan.storage[new] is plan.storage[w]
    assert plan.copied_updates == {}
    assert plan.arena_nbytes == 0


def test_a_state_that_the_run_leaves_alone_is_not_overwritten() -> None:
    graph, x, w = update_graph()
    new = graph.add_node(UPDATE, [w, x]).outputs[0]
    graph.outputs = [new]
    assert plan_memory(graph).storage[new].place == "arena"


def test_an_argument_is_not_overwritten() -> None:
    graph, x, w = update_graph()
    new = graph.add_node(UPDATE, [x, w]).outputs[0]
    graph.outputs = [new]
    assert plan_memory(graph).storage[new].place == "arena"


def test_an_old_value_that_is_read_later_is_not_overwritten() -> None:
    graph, x, w = update_graph()
    new = graph.add_node(UPDATE, [w, x]).outputs[0]
    late = graph.add_node(get_op("add"), [w, x]).outputs[0]
    graph.outputs, graph.updates = [late], {0: new}
    plan = plan_memory(graph)
    assert plan.storage[new].place == "arena"
    assert plan.copied_updates == {0: new}


def test_an_old_value_that_a_view_reads_later_is_not_overwritten() -> None:
    graph, x, w = update_graph()
    view = graph.add_node(get_op("transpose"), [w], {"axes": (1, 0)}).outputs[0]
    new = graph.add_node(UPDATE, [w, x]).outputs[0]
    graph.outputs = list(graph.add_node(get_op("add"), [view, x]).outputs)
    graph.updates = {0: new}
    assert plan_memory(graph).storage[new].place == "arena"


def test_an_input_that_is_read_twice_is_not_overwritten() -> None:
    graph, _, w = update_graph()
    view = graph.add_node(get_op("transpose"), [w], {"axes": (1, 0)}).outputs[0]
    twice = graph.add_node(UPDATE, [w, w]).outputs[0]
    through = graph.add_node(UPDATE, [twice, view]).outputs[0]
    graph.updates = {0: through}
    plan = plan_memory(graph)
    assert plan.storage[twice].place == "arena"
    assert plan.storage[through] is not plan.storage[view]


def test_a_view_is_not_overwritten() -> None:
    graph, x, _ = update_graph()
    made = graph.add_node(get_op("neg"), [x]).outputs[0]
    view = graph.add_node(get_op("transpose"), [made], {"axes": (1, 0)}).outputs[0]
    new = graph.add_node(UPDATE, [view, x]).outputs[0]
    graph.outputs = [new]
    plan = plan_memory(graph)
    assert plan.storage[new] is not plan.storage[made]


def test_a_new_value_is_computed_in_its_state_once_the_old_one_is_dead() -> None:
    graph, x, w = update_graph()
    half = graph.add_node(get_op("neg"), [w]).outputs[0]
    new = graph.add_node(get_op("add"), [half, x]).outputs[0]
    graph.updates = {0: new}
    plan = plan_memory(graph)
    assert plan.storage[new] is plan.storage[w]
    assert plan.copied_updates == {}


def test_a_new_value_whose_node_reads_the_old_one_is_copied_home() -> None:
    graph, x, w = update_graph()
    new = graph.add_node(get_op("add"), [w, x]).outputs[0]
    graph.updates = {0: new}
    assert plan_memory(graph).copied_updates == {0: new}


def test_swapped_states_are_copied() -> None:
    graph, _, w = update_graph()
    v = graph.add_state(TYPE, "v")
    graph.updates = {0: v, 1: w}
    assert plan_memory(graph).copied_updates == {0: v, 1: w}


# Blocks ---------------------------------------------------------------------------------------------------------------


def packed_graph(*shapes: tuple[int, ...]) -> Graph:
    graph = Graph()
    parts = []
    for shape in shapes:
        x = graph.add_argument(tensor_type(shape, float32))
        parts.append(graph.add_node(get_op("neg"), [x]).outputs[0])
    graph.outputs = list(graph.add_node(PACKED, parts).outputs)
    return graph


def test_blocks_lie_together_in_order_and_aligned() -> None:
    graph = packed_graph((3,), (100,), (1,))
    plan = plan_memory(graph)
    (block,) = plan.blocks
    members = [plan.storage[value] for value in graph.nodes[-1].inputs]
    assert block.members == members
    assert [member.offset for member in members] == [0, 64, 64 + 448]
    assert block.nbytes == 64 + 448 + 64
    assert plan.arena_nbytes == 64, "only the result; a block has memory of its own"


@pytest.mark.parametrize("which", ["argument", "state", "constant", "twice"])
def test_what_cannot_be_packed_is_refused(which: str) -> None:
    graph = Graph()
    x, w = graph.add_argument(TYPE), graph.add_state(TYPE)
    constant = graph.add_node(get_op("constant"), [], {"value": np.zeros((4, 4), np.float32)}).outputs[0]
    made = graph.add_node(get_op("neg"), [x]).outputs[0]
    second = {"argument": x, "state": w, "constant": constant, "twice": made}[which]
    graph.outputs = list(graph.add_node(PACKED, [made, second]).outputs)
    with pytest.raises(GraphError, match="memory plan of test_packed_sum: expected inputs of its own to pack"):
        plan_memory(graph)


def test_a_packed_value_that_updates_a_state_stays_in_its_block() -> None:
    graph = packed_graph((4,), (4,))
    state = graph.add_state(tensor_type((4,), float32))
    graph.updates = {0: graph.nodes[0].outputs[0]}
    plan = plan_memory(graph)
    assert plan.storage[graph.nodes[0].outputs[0]].block is plan.blocks[0]
    assert plan.copied_updates == {0: graph.nodes[0].outputs[0]}
    assert plan.storage[state].place == "state"
