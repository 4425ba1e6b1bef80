"""Where every value of a graph lies in memory: decided once, before the first run, without allocating anything.

Values live in *storages* (`sharing`: a view shares that of what it views, an update op's output that of the input it
overwrites). Storages of states, arguments and constants are given from outside; the others, the workspaces that kernels
ask for, and copies of inputs with gaps are placed in the arena of their device by lifetime, so that memory is used
again (`placement`). Inputs that an op reads in a bucket (`buckets`) form one block, in order, in memory of its own
(which may be shared with other ranks), so that packing needs no copy.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dtrain.base.device import Device
from dtrain.base.errors import GraphError, expected
from dtrain.graph.graph import Graph, Node, Value
from dtrain.runtime.buckets import bucket_members
from dtrain.runtime.placement import place
from dtrain.runtime.sharing import share_storages
from dtrain.runtime.storage import Block, Storage, padded, storage_of


@dataclass(slots=True)
class MemoryPlan:
    """The storage of every value and workspace, and the bytes of each device's arena.

    `rooms` hold the arenas of graphs within a node, one a device, as long as the node runs.
    `copies` are of inputs of nodes whose elements do not lie in order, where the kernel wants them so.
    `copied_updates` are the state updates that must be copied home at the end of a run.
    """

    storage: dict[Value, Storage]
    workspaces: dict[Node, Storage]
    rooms: dict[tuple[Node, Device], Storage]
    copies: dict[tuple[Node, Value], Storage]
    arenas: dict[Device, int]
    copied_updates: dict[int, Value]
    blocks: list[Block]

    @property
    def arena_storages(self) -> list[Storage]:
        """What lies in the arenas: values, workspaces, rooms and copies."""
        lent = [*self.workspaces.values(), *self.rooms.values(), *self.copies.values()]
        return _in_arenas([*self.storage.values(), *lent])

    @property
    def arena_nbytes(self) -> int:
        """Bytes of the arenas of all devices."""
        return sum(self.arenas.values())

    @property
    def workspace_nbytes(self) -> int:
        """Bytes of the largest workspace. All lie in the arenas; no two on one device are used at the same time."""
        return max((storage.nbytes for storage in self.workspaces.values()), default=0)

    @property
    def total_nbytes(self) -> int:
        """Bytes that the arenas' storages would need without sharing."""
        return sum(storage.nbytes for storage in self.arena_storages)


def plan_memory(
    graph: Graph,
    workspace_nbytes: Mapping[Node, int] = MappingProxyType({}),
    needs_contiguous: Container[Node] = (),
    inner_nbytes: Mapping[Node, Mapping[Device, int]] = MappingProxyType({}),
) -> MemoryPlan:
    """Assign a storage to every value of the graph, and an offset to every storage of an arena.

    Args:
        workspace_nbytes: bytes of scratch memory that the kernels of some nodes use while they run.
        needs_contiguous: nodes whose kernels read inputs only where their elements lie in order.
        inner_nbytes: bytes of an arena a device in which the graphs of some nodes run (`planned_graph.py`).
    """
    shared = share_storages(graph)
    blocks = _make_blocks(graph, shared.storage)
    workspaces = _make_workspaces(graph, workspace_nbytes)
    copies = _make_copies(graph, shared.scattered, needs_contiguous)
    rooms = _make_rooms(graph, inner_nbytes)
    plan = MemoryPlan(shared.storage, workspaces, rooms, copies, {}, shared.copied_updates, blocks)
    by_device: dict[Device, list[Storage]] = {}
    for storage in plan.arena_storages:
        by_device.setdefault(storage.device, []).append(storage)
    plan.arenas.update((device, place(storages)) for device, storages in by_device.items())
    return plan


def _in_arenas(storages: Iterable[Storage]) -> list[Storage]:
    return [s for s in dict.fromkeys(storages) if s.place == "arena" and s.block is None]


def _make_workspaces(graph: Graph, workspace_nbytes: Mapping[Node, int]) -> dict[Node, Storage]:
    return {
        node: Storage(padded(workspace_nbytes[node]), node.outputs[0].type.device, "arena", 0, position, position)
        for position, node in enumerate(graph.nodes)
        if node in workspace_nbytes
    }


def _make_rooms(graph: Graph, inner_nbytes: Mapping[Node, Mapping[Device, int]]) -> dict[tuple[Node, Device], Storage]:
    return {
        (node, device): Storage(padded(nbytes), device, "arena", 0, position, position)
        for position, node in enumerate(graph.nodes)
        for device, nbytes in inner_nbytes.get(node, {}).items()
    }


def _make_copies(
    graph: Graph, scattered: set[Value], needs_contiguous: Container[Node]
) -> dict[tuple[Node, Value], Storage]:
    return {
        (node, value): storage_of(value.type, "arena", first=position, last=position)
        for position, node in enumerate(graph.nodes)
        if node in needs_contiguous
        for value in node.inputs
        if value in scattered
    }


def _make_blocks(graph: Graph, storage: dict[Value, Storage]) -> list[Block]:
    blocks: list[Block] = []
    for node in graph.nodes:
        values = bucket_members(node)
        if not values:
            continue
        members = [storage[value] for value in values]
        _expect_its_own(node, values, members)
        block = Block(len(blocks), node, members)
        offset = 0
        for member in members:
            member.block, member.offset = block, offset
            offset += member.nbytes
        blocks.append(block)
    return blocks


def _expect_its_own(node: Node, values: Iterable[Value], members: list[Storage]) -> None:
    """Every member of a block lies in this block alone, once."""
    seen: set[Storage] = set()
    for value, member in zip(values, members):
        if member.place != "arena" or member.block is not None or member in seen:
            given = f"{value.type} in {member.place} memory"
            raise GraphError(
                expected(f"memory plan of {node.op.name}", "inputs of its own to pack", given, "copy them first")
            )
        seen.add(member)
