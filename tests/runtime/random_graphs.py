"""Random graphs of elementwise ops, views, aliasing updates and packed blocks, and their naive evaluation."""

from __future__ import annotations

import numpy as np

import dtrain  # noqa: F401  registers the ops
from dtrain.base.dtype import float32
from dtrain.base.tensor_type import TensorType, tensor_type
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import Op, get_op
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import kernels_of, register_kernel
from dtrain.runtime.buckets import BUCKET_MEMBERS
from dtrain.runtime.dispatch import dispatch

SIZES = ((2, 3), (3, 2), (6,), (1, 6))


WORKSPACE_NBYTES = 100


def _scale_add(target, other, *, out, workspace) -> None:
    workspace[:WORKSPACE_NBYTES] = 255  # whatever else lay there is lost
    np.multiply(target, 0.5, out=out)
    np.add(out, other, out=out)


# An update op: out = target / 2 + other, in the memory of target where that is safe, with a workspace.
UPDATE = Op(name="test_scale_add", infer=lambda x, y: x, aliases={0: 0})
# A packed op: the sum of all inputs, which must lie one after another.
PACKED = Op(name="test_packed_sum", infer=lambda *types: types[0])
BUCKET_MEMBERS.register(PACKED, lambda node: node.inputs)


def _packed_sum(*inputs, out) -> None:
    out[...] = sum(inputs)


if not kernels_of(UPDATE.name):
    for _op, _function, _workspace in (
        (UPDATE, _scale_add, lambda problem: WORKSPACE_NBYTES),
        (PACKED, _packed_sum, None),
    ):
        register_kernel(
            Candidate(
                op=_op.name,
                name=f"{_op.name}_reference",
                isa="reference",
                function=_function,
                workspace=_workspace,
                needs_contiguous=_op is UPDATE,
            )
        )


def make_graph(seed: int, num_nodes: int = 30) -> Graph:
    """Six elements a value (three in a slice): arguments, states, nodes of all kinds, outputs and updates."""
    random = np.random.default_rng(seed)
    graph = Graph(f"random{seed}")
    values: list[Value] = []
    for position in range(int(random.integers(1, 4))):
        values.append(graph.add_argument(_random_type(random), f"x{position}"))
    for position in range(int(random.integers(1, 5))):
        values.append(graph.add_state(_random_type(random), f"w{position}"))
    for _ in range(num_nodes):
        values += _random_node(graph, values, random).outputs
    packable = [node.outputs[0] for node in graph.nodes if node.op.name in ("neg", "add")]
    if len(packable) >= 3 and random.random() < 0.7:
        chosen = [packable[i] for i in sorted(random.choice(len(packable), 2, replace=False))]
        if chosen[0].type is chosen[1].type:
            values += graph.add_node(PACKED, chosen).outputs
    made = [value for value in values if value.node is not None]
    graph.outputs = [made[i] for i in random.choice(len(made), 4)] + [values[int(random.integers(len(values)))]]
    for position, state in enumerate(graph.states):
        fitting = [value for value in values if value.type is state.type and value is not state]
        if fitting and random.random() < 0.8:
            graph.updates[position] = fitting[int(random.integers(len(fitting)))]
    return graph


def _random_type(random: np.random.Generator) -> TensorType:
    return tensor_type(SIZES[int(random.integers(len(SIZES)))], float32)


def _random_node(graph: Graph, values: list[Value], random: np.random.Generator) -> Node:
    # Recent values and states are likelier, so that lifetimes vary.
    x = values[int(random.integers(max(0, len(values) - 8), len(values)))] if random.random() < 0.7 else values[0]
    kind = random.choice(["neg", "add", "update", "reshape", "transpose", "slice"])
    alike = [value for value in values if value.type is x.type]
    y = alike[int(random.integers(len(alike)))]
    if kind == "neg":
        return graph.add_node(get_op("neg"), [x])
    if kind == "update":
        return graph.add_node(UPDATE, [x, y])
    if kind == "reshape" and x.type.size == 6:
        return graph.add_node(get_op("reshape"), [x], {"shape": SIZES[int(random.integers(len(SIZES)))]})
    if kind == "slice" and x.type.shape == (6,):
        return graph.add_node(get_op("get_item"), [x], {"index": ((3, 6, 1),)})
    if x.type.size == 3:
        return graph.add_node(UPDATE, [x, y])
    if kind == "transpose" and x.type.ndim == 2 and x.type.shape != (1, 6):
        return graph.add_node(get_op("transpose"), [x], {"axes": (1, 0)})
    return graph.add_node(get_op("add"), [x, y])


def evaluate(graph: Graph, arguments: list[np.ndarray], states: list[np.ndarray]) -> tuple[list, list]:
    """Results and new states, node by node, every value in memory of its own."""
    arrays = dict(zip(graph.inputs, [array.copy() for array in [*arguments, *states]]))
    for node in graph.nodes:
        inputs = [np.ascontiguousarray(arrays[value]) for value in node.inputs]
        types = tuple(value.type for value in node.inputs)
        computed = dispatch(node.op, types, node.attrs).run(inputs, node.attrs)
        arrays.update(zip(node.outputs, [np.array(array) for array in computed]))
    results = [arrays[value] for value in graph.outputs]
    return results, [arrays[graph.updates.get(i, value)] for i, value in enumerate(graph.states)]


def random_arrays(values: list[Value], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(-8, 9, value.type.shape).astype(np.float32) for value in values]
