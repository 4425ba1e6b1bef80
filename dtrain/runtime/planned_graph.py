"""A graph with all that is decided before a run: kernels, memory, and the same of the graphs that its nodes hold."""

from __future__ import annotations

from dataclasses import dataclass

from dtrain.base.device import Device
from dtrain.base.errors import GraphError, expected
from dtrain.graph.constant import CONSTANT
from dtrain.graph.effects import is_collective
from dtrain.graph.graph import Graph, Node
from dtrain.graph.inference import expect_rules
from dtrain.runtime.dispatch import Chosen, kernel_of
from dtrain.runtime.memory_plan import MemoryPlan, plan_memory
from dtrain.runtime.regions import REGIONS


@dataclass(frozen=True, slots=True)
class PlannedGraph:
    """A graph, the kernels of its nodes, its memory; and the graphs of each node with a region."""

    graph: Graph
    kernels: dict[Node, Chosen]
    plan: MemoryPlan
    bodies: dict[Node, tuple[PlannedGraph, ...]]


def plan_graph(graph: Graph) -> PlannedGraph:
    """Choose kernels and places. What lies inside of a node's region is planned first: the node's own plan has room.

    Raises:
        GraphError: a graph within a region has states, or talks to other ranks.
    """
    regions = {node: region for node in graph.nodes if (region := REGIONS.of(node.op.name)) is not None}
    bodies = {node: tuple(map(_plan_body, region.bodies(node))) for node, region in regions.items()}
    kernels = _kernels_of(graph)
    workspaces = {node: chosen.workspace_nbytes for node, chosen in kernels.items() if chosen.workspace_nbytes}
    ordered = {node for node, chosen in kernels.items() if chosen.kernel.needs_contiguous} | set(bodies)
    rooms = {node: _largest(planned) for node, planned in bodies.items()}
    return PlannedGraph(graph, kernels, plan_memory(graph, workspaces, ordered, rooms), bodies)


def _plan_body(body: Graph) -> PlannedGraph:
    if body.states or any(map(is_collective, body.nodes)):
        given = f"{body.name}, which has states or talks to other ranks"
        raise GraphError(expected("a graph within a node", "a function of its arguments alone", given))
    return plan_graph(body)


def _largest(bodies: tuple[PlannedGraph, ...]) -> dict[Device, int]:
    """The bytes of an arena a device in which each of them can run: one at a time."""
    largest: dict[Device, int] = {}
    for body in bodies:
        for device, nbytes in body.plan.arenas.items():
            largest[device] = max(nbytes, largest.get(device, 0))
    return largest


def _kernels_of(graph: Graph) -> dict[Node, Chosen]:
    """What every node computes with: chosen once, since the plan has room for what these kernels use."""
    for node in graph.nodes:
        expect_rules(node.op.name, [value.type for value in node.inputs])
    computed = [node for node in graph.nodes if node.op.view is None and node.op is not CONSTANT]
    return {node: kernel_of(node) for node in computed if node.op.name not in REGIONS}
