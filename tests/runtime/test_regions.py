"""Nodes that hold graphs: a room in the outer plan that lives as long as the node, and one step that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import dtrain  # noqa: F401  registers the ops
from dtrain.base.alignment import aligned
from dtrain.base.device import CPU
from dtrain.base.dtype import float32, int64
from dtrain.base.errors import GraphError
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import Op, get_op
from dtrain.kernels.array_module import Array
from dtrain.runtime.executor import Executor
from dtrain.runtime.memory_plan import MemoryPlan
from dtrain.runtime.planned_graph import PlannedGraph, plan_graph
from dtrain.runtime.regions import REGIONS, BindBody, Region
from dtrain.runtime.state import StateCell
from dtrain.runtime.storage import Storage

WIDE, NARROW, NUMBER = tensor_type((64, 4), float32), tensor_type((64,), float32), tensor_type((), int64)
ROW = aligned(NARROW.nbytes)

# (which, *inputs) -> the results of graph number `which` on the inputs.
CHOICE = Op(name="test_choice", infer=lambda which, *types, bodies: tuple(value.type for value in bodies[0].outputs))
# (x) -> body(body(… body(x))), `times` times: results and arguments take turns in two arrays.
REPEAT = Op(name="test_repeat", infer=lambda x, *, body, times: x)


def bind_choice(node: Node, inputs: Sequence[Array], outputs: Sequence[Array], bind: BindBody) -> Callable[[], Any]:
    which, *arguments = inputs
    bodies = [bind(number, arguments) for number in range(len(node.attrs["bodies"]))]

    def call() -> None:
        body = bodies[int(which)]
        body.run()
        for target, source in zip(outputs, body.results, strict=True):
            target[...] = source

    return call


def bind_repeat(node: Node, inputs: Sequence[Array], outputs: Sequence[Array], bind: BindBody) -> Callable[[], Any]:
    (out,) = outputs
    body = bind(0, [out])
    (result,) = body.results

    def call() -> None:
        out[...] = inputs[0]
        for _ in range(node.attrs["times"]):
            body.run()
            out[...] = result

    return call


REGIONS.register(CHOICE, Region(lambda node: node.attrs["bodies"], bind_choice))
REGIONS.register(REPEAT, Region(lambda node: [node.attrs["body"]], bind_repeat))


def chain(names: Sequence[str], type: Any = NARROW) -> Graph:
    """x -> … names[1](names[0](x)), of which each two neighbours live at once."""
    graph = Graph(" ".join(names))
    value = graph.add_argument(type)
    for name in names:
        value = graph.add_node(get_op(name), [value]).outputs[0]
    graph.outputs = [value]
    return graph


def sums(count: int) -> Graph:
    """x -> tanh(x) + tanh(x) + …, `count` − 1 of them, which all live at once, beside their first sum."""
    graph = Graph(f"sums{count}")
    x = graph.add_argument(NARROW)
    parts = [graph.add_node(get_op("tanh"), [x]).outputs[0] for _ in range(count - 1)]
    total = parts[0]
    for part in parts[1:]:
        total = graph.add_node(get_op("add"), [total, part]).outputs[0]
    graph.outputs = [total]
    return graph


def run_node(graph: Graph, op: Op, inputs: Sequence[Value], attrs: dict[str, Any]) -> Value:
    return graph.add_node(op, inputs, attrs).outputs[0]


def expect_apart(storages: Sequence[Storage]) -> None:
    for first, second in combinations(storages, 2):
        if first.device is second.device and first.first <= second.last and second.first <= first.last:
            assert first.offset + first.nbytes <= second.offset or second.offset + second.nbytes <= first.offset


def all_plans(planned: PlannedGraph) -> list[MemoryPlan]:
    return [planned.plan, *(plan for bodies in planned.bodies.values() for body in bodies for plan in all_plans(body))]


def outer_graph(bodies: Sequence[Graph]) -> tuple[Graph, Value]:
    """which, x: a value that is dead before the node, one that lives across it, and the node between them."""
    graph = Graph("outer")
    which, x = graph.add_argument(NUMBER), graph.add_argument(NARROW)
    dead = graph.add_node(get_op("exp"), [x]).outputs[0]
    across = graph.add_node(get_op("tanh"), [dead]).outputs[0]
    chosen = run_node(graph, CHOICE, [which, x], {"bodies": tuple(bodies)})
    graph.outputs = [graph.add_node(get_op("add"), [across, chosen]).outputs[0]]
    return graph, chosen


def test_a_room_lives_as_long_as_its_node_and_is_as_large_as_the_largest_graph_in_it() -> None:
    small, large = chain(["exp", "sqrt"]), sums(5)
    graph, chosen = outer_graph([small, large])
    planned = plan_graph(graph)
    node = chosen.node
    assert node is not None
    ((where, room),) = planned.plan.rooms.items()
    assert where == (node, CPU)
    inner = [body.plan.arenas[CPU] for body in planned.bodies[node]]
    assert inner == [2 * ROW, 5 * ROW]
    assert room.nbytes == max(inner)
    position = graph.nodes.index(node)
    assert (room.first, room.last) == (position, position)


def test_what_is_dead_before_a_node_lends_its_place_to_the_graphs_in_it() -> None:
    graph, _ = outer_graph([sums(5)])
    planned = plan_graph(graph)
    for plan in all_plans(planned):
        expect_apart(plan.arena_storages)
    (room,) = planned.plan.rooms.values()
    dead, across = (planned.plan.storage[node.outputs[0]] for node in graph.nodes[:2])
    assert room.offset <= dead.offset < room.offset + room.nbytes, "used again"
    assert across.last > room.last
    # `across`, the result of the node, and the room: `dead` and the last result have no bytes of their own.
    assert planned.plan.arena_nbytes == 2 * ROW + room.nbytes


def test_rooms_of_nodes_that_follow_each_other_are_one_place() -> None:
    graph = Graph("two")
    value = graph.add_argument(NARROW)
    for _ in range(2):
        value = run_node(graph, REPEAT, [value], {"body": sums(4), "times": 2})
    graph.outputs = [value]
    plan = plan_graph(graph).plan
    first, second = plan.rooms.values()
    assert first.offset == second.offset
    assert plan.arena_nbytes == 2 * ROW + 4 * ROW


def test_a_graph_within_a_graph_has_its_room_in_the_inner_arena() -> None:
    inner = sums(6)
    middle = Graph("middle")
    x = middle.add_argument(NARROW)
    kept = middle.add_node(get_op("exp"), [x]).outputs[0]
    repeated = run_node(middle, REPEAT, [kept], {"body": inner, "times": 3})
    middle.outputs = [middle.add_node(get_op("add"), [kept, repeated]).outputs[0]]
    graph, chosen = outer_graph([middle])
    planned = plan_graph(graph)
    assert chosen.node is not None
    (body,) = planned.bodies[chosen.node]
    (inner_room,), (room,) = body.plan.rooms.values(), planned.plan.rooms.values()
    assert inner_room.nbytes == 6 * ROW
    assert room.nbytes == body.plan.arenas[CPU] == 2 * ROW + inner_room.nbytes, "kept, repeated, and the room"
    for plan in all_plans(planned):
        expect_apart(plan.arena_storages)

    executor = Executor(graph, [])
    given = np.linspace(0.1, 0.5, 64, dtype=np.float32)
    for _ in range(2):
        executor._arenas[CPU].fill(255)
        (result,) = executor.run([np.array(0), given])
        repeated_by_numpy = np.exp(given)
        for _ in range(3):
            repeated_by_numpy = 5 * np.tanh(repeated_by_numpy)
        wanted = np.tanh(np.exp(given)) + (np.exp(given) + repeated_by_numpy)
        np.testing.assert_allclose(result, wanted, rtol=1e-5)
    assert [(step.kind, step.name) for step in executor.steps if step.kind == "region"] == [("region", "test_choice")]


def test_a_run_takes_the_graph_that_its_numbers_name() -> None:
    graph, _ = outer_graph([chain(["exp", "sqrt"]), sums(5)])
    executor = Executor(graph, [])
    given = np.linspace(0.1, 1, 64, dtype=np.float32)
    across = np.tanh(np.exp(given))
    for which, wanted in [(0, np.sqrt(np.exp(given))), (1, 4 * np.tanh(given)), (0, np.sqrt(np.exp(given)))]:
        executor._arenas[CPU].fill(255)
        np.testing.assert_allclose(executor.run([np.array(which), given])[0], across + wanted, rtol=1e-5)


def test_inputs_with_gaps_are_copied_into_the_outer_arena_before_the_step() -> None:
    graph = Graph("gaps")
    x = graph.add_argument(WIDE)
    turned = graph.add_node(get_op("transpose"), [x], {"axes": (1, 0)}).outputs[0]
    graph.outputs = [run_node(graph, REPEAT, [turned], {"body": chain(["exp"], turned.type), "times": 1})]
    executor = Executor(graph, [])
    given = np.random.default_rng(0).standard_normal(WIDE.shape).astype(np.float32)
    np.testing.assert_allclose(executor.run([given])[0], np.exp(given.T), rtol=1e-5)
    assert [step.kind for step in executor.steps] == ["copy", "region"]
    assert [value for _, value in executor.plan.copies] == [turned]


def with_state() -> Graph:
    graph = Graph("stateful")
    graph.add_argument(NARROW)
    graph.outputs = [graph.add_node(get_op("exp"), [graph.add_state(NARROW)]).outputs[0]]
    return graph


def with_collective() -> Graph:
    import dtrain.collectives.ops.collective_ops  # noqa: F401  registers all_reduce

    graph = Graph("talking")
    attrs = {"group": "world"}
    graph.outputs = [graph.add_node(get_op("all_reduce"), [graph.add_argument(NARROW)], attrs).outputs[0]]
    return graph


@pytest.mark.parametrize("make", [with_state, with_collective])
def test_a_graph_within_a_node_is_a_function_of_its_arguments(make: Callable[[], Graph]) -> None:
    graph = Graph("outer")
    graph.outputs = [run_node(graph, REPEAT, [graph.add_argument(NARROW)], {"body": make(), "times": 1})]
    with pytest.raises(
        GraphError, match=r"expected a function of its arguments alone, got (stateful|talking), which has"
    ):
        Executor(graph, [])


def test_an_error_within_names_the_line_of_the_node() -> None:
    body = Graph("picks")
    index, table = body.add_argument(tensor_type((1,), int64)), body.add_argument(tensor_type((2, 1), float32))
    body.outputs = [run_node(body, get_op("embedding"), [index, table], {"padding_index": None})]
    graph = Graph("outer")
    which = graph.add_argument(NUMBER)
    inputs = [which, graph.add_argument(index.type), graph.add_state(table.type)]
    node = graph.add_node(CHOICE, inputs, {"bodies": (body,)})
    node.source = "train.py:7"
    graph.outputs = list(node.outputs)
    executor = Executor(graph, [StateCell(np.ones((2, 1), np.float32))])
    run = partial(executor.run, [np.array(0), np.array([9])])
    with pytest.raises(ValueError, match="index") as caught:
        run()
    if hasattr(caught.value, "__notes__"):
        assert caught.value.__notes__ == ["in test_choice, traced from train.py:7"]
    assert executor.run([np.array(0), np.array([1])])[0].tolist() == [[1]]
