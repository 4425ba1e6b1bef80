"""Executor: the same numbers as a naive node-by-node evaluation, over random graphs and again and again."""

from __future__ import annotations

import numpy as np
import pytest
from runtime.random_graphs import PACKED, UPDATE, WORKSPACE_NBYTES, evaluate, make_graph, random_arrays

from dtrain.base.alignment import ALIGNMENT, aligned
from dtrain.base.device import CPU
from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.core.tensor import wrap
from dtrain.graph.graph import Graph
from dtrain.graph.op import get_op
from dtrain.graph.printer import parse_graph
from dtrain.graph.verify import verify
from dtrain.runtime.executor import Executor

TYPE = tensor_type((2, 3), float32)


@pytest.mark.parametrize("seed", range(120))
def test_random_graphs_compute_what_naive_evaluation_does(seed: int) -> None:
    """Integers in f32, so every order of evaluation is exact; three runs, since states carry over."""
    graph = make_graph(seed)
    verify(graph)
    states = random_arrays(graph.states, seed)
    tensors = [wrap(array.copy()) for array in states]
    executor = Executor(graph, tensors)
    for run in range(3):
        arguments = random_arrays(graph.arguments, seed + 1000 * run)
        wanted, states = evaluate(graph, arguments, states)
        got = executor.run(arguments)
        assert [array.tolist() for array in got] == [array.tolist() for array in wanted]
        assert [tensor.tolist() for tensor in tensors] == [array.tolist() for array in states]


@pytest.mark.parametrize("seed", range(40))
def test_states_and_arguments_may_have_gaps(seed: int) -> None:
    graph = make_graph(seed)
    states = random_arrays(graph.states, seed)
    tensors = [wrap(np.repeat(array, 2, axis=-1)[..., ::2]) for array in states]
    assert not all(tensor.array.flags.c_contiguous for tensor in tensors)
    executor = Executor(graph, tensors)
    for run in range(2):
        arguments = random_arrays(graph.arguments, seed + run)
        wanted, states = evaluate(graph, arguments, states)
        got = executor.run([np.asfortranarray(array) for array in arguments])
        assert [array.tolist() for array in got] == [array.tolist() for array in wanted]
        assert [tensor.tolist() for tensor in tensors] == [array.tolist() for array in states]


@pytest.mark.parametrize("seed", range(40))
def test_kept_outputs_are_right_and_apart(seed: int) -> None:
    graph = make_graph(seed)
    states = random_arrays(graph.states, seed)
    executor = Executor(graph, [wrap(array.copy()) for array in states], num_results=1)
    arguments = random_arrays(graph.arguments, seed)
    wanted, _ = evaluate(graph, arguments, states)
    (first,) = executor.run(arguments)
    assert first.tolist() == wanted[0].tolist()
    assert [array.tolist() for array in executor.kept] == [array.tolist() for array in wanted[1:]]
    for position, array in enumerate(executor.kept):
        assert not any(np.may_share_memory(array, other) for other in executor.kept[:position])
        array[...] = 77  # whoever changes a gradient changes nothing else
    assert not any((array == 77).all() for array in (first, *(state.array for state in executor.states)))


def test_results_are_new_arrays() -> None:
    graph = parse_graph("graph g(%x: f32[2]@cpu; ) {\n  %0: f32[2]@cpu = neg(%x)\n  return %0, %0, %x\n}")
    executor = Executor(graph, [])
    results = executor.run([np.ones(2, np.float32)])
    executor.run([np.zeros(2, np.float32)])
    assert [array.tolist() for array in results] == [[-1, -1], [-1, -1], [1, 1]]
    assert not np.may_share_memory(results[0], results[1])


def test_a_graph_without_nodes_runs() -> None:
    graph = Graph()
    x, w, v = graph.add_argument(TYPE), graph.add_state(TYPE), graph.add_state(TYPE)
    graph.outputs, graph.updates = [w], {0: v, 1: x}
    tensors = [wrap(np.full((2, 3), value, np.float32)) for value in (1, 2)]
    (result,) = Executor(graph, tensors).run([np.full((2, 3), 3, np.float32)])
    assert [result[0, 0], tensors[0].array[0, 0], tensors[1].array[0, 0]] == [1, 2, 3]


def test_arrays_are_aligned_and_blocks_adjacent() -> None:
    graph = Graph()
    parts = [graph.add_node(get_op("neg"), [graph.add_argument(TYPE)]).outputs[0] for _ in range(3)]
    graph.outputs = list(graph.add_node(PACKED, parts).outputs)
    seen: list[tuple[int, ...]] = []
    executor = Executor(graph, [])
    executor.run([np.ones((2, 3), np.float32)] * 3)
    packed = executor.steps[-1].call
    seen = [array.ctypes.data for array in packed.args]  # type: ignore[attr-defined]
    assert [address - seen[0] for address in seen] == [0, 64, 128]
    assert seen[0] % ALIGNMENT == 0


def test_updated_states_get_new_versions() -> None:
    graph = parse_graph(
        "graph g(; %w: f32[2]@cpu, %v: f32[2]@cpu) {\n  %0: f32[2]@cpu = neg(%w)\n  return ; %w <- %0\n}"
    )
    w, v = wrap(np.ones(2, np.float32)), wrap(np.ones(2, np.float32))
    executor = Executor(graph, [w, v])
    executor.run([])
    executor.run([])
    assert (w.version, v.version) == (2, 0)


def test_a_failed_run_can_be_repeated() -> None:
    graph = parse_graph(
        "graph g(%i: s64[1]@cpu; %t: f32[2,1]@cpu) {\n"
        "  %0: f32[1,1]@cpu = embedding(%i, %t){padding_index=None}\n  return %0\n}"
    )
    executor = Executor(graph, [wrap(np.ones((2, 1), np.float32))])
    with pytest.raises(ValueError, match="index"):
        executor.run([np.array([9])])
    assert executor.run([np.array([1])])[0].tolist() == [[1]]


def test_copies_of_inputs_with_gaps_lie_in_the_arena() -> None:
    graph = Graph()
    x = graph.add_argument(tensor_type((3, 2), float32))
    turned = graph.add_node(get_op("transpose"), [x], {"axes": (1, 0)}).outputs[0]
    graph.outputs = list(graph.add_node(UPDATE, [turned, turned]).outputs)
    executor = Executor(graph, [])
    given = np.arange(6, dtype=np.float32).reshape(3, 2)
    for _ in range(2):
        executor._arenas[CPU].fill(255)
        assert executor.run([given])[0].tolist() == (given.T * 1.5).tolist()
    copy, update = executor.steps
    assert (copy.kind, update.kind) == ("copy", "kernel")
    assert np.shares_memory(copy.call.keywords["out"], executor._arenas[CPU])  # type: ignore[attr-defined]


def test_kernels_get_the_workspace_of_the_plan() -> None:
    graph = Graph()
    x, w = graph.add_argument(TYPE), graph.add_state(TYPE)
    graph.outputs = list(graph.add_node(UPDATE, [x, w]).outputs)
    executor = Executor(graph, [wrap(np.ones((2, 3), np.float32))])
    executor.run([np.ones((2, 3), np.float32)])
    (step,) = [step.call for step in executor.steps]
    given = step.keywords["workspace"]  # type: ignore[attr-defined]
    assert (given.nbytes, given.dtype) == (aligned(WORKSPACE_NBYTES), np.uint8)
    assert given.ctypes.data % ALIGNMENT == 0
    assert np.shares_memory(given, executor._arenas[CPU])
    assert executor.plan.arena_nbytes == given.nbytes + ALIGNMENT, "and the result"


def test_convolutions_of_a_step_use_memory_of_the_arena_only() -> None:
    """Nothing of what kernels write between two runs matters, and no thread keeps memory for them."""
    attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    graph = Graph()
    x, w = graph.add_argument(tensor_type((3, 4, 9, 9), float32)), graph.add_state(tensor_type((5, 4, 3, 3), float32))
    graph.outputs = list(graph.add_node(get_op("conv2d"), [x, w], attrs).outputs)
    states, arguments = random_arrays(graph.states, 1), random_arrays(graph.arguments, 2)
    executor = Executor(graph, [wrap(states[0].copy())])
    if "im2col" not in "".join(executor.planned.kernels[node].kernel.name for node in graph.nodes):
        pytest.skip("no compiled im2col on this machine")
    (workspace,) = executor.plan.workspaces.values()
    assert workspace.nbytes >= 4 * 9 * 3 * 81 * 4, "the columns at least"
    wanted, _ = evaluate(graph, arguments, states)
    for _ in range(2):
        executor._arenas[CPU].fill(255)
        assert executor.run(arguments)[0].tolist() == wanted[0].tolist()
