"""A memory plan as text: the arena of each device, and what lies in it when it is fullest."""

from __future__ import annotations

from collections.abc import Iterable

from dtrain.base.device import Device
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.printer import origin_text, value_names
from dtrain.runtime.memory_plan import MemoryPlan
from dtrain.runtime.storage import Storage


def memory_report(graph: Graph, plan: MemoryPlan, *, most: int = 12) -> str:
    """Sizes, then the `most` largest storages of the moment at which the most bytes live, for each arena.

    Lifetimes are positions of nodes, first to last. Values are named as `print(graph)` names them.
    """
    lines = [f"memory of {graph.name}: {len(graph.nodes)} nodes"]
    contents = _contents(graph, plan)
    for device, nbytes in plan.arenas.items():
        storages = [storage for storage in plan.arena_storages if storage.device is device]
        lines += _arena_lines(graph, plan, device, nbytes, storages)
        position, alive = fullest(storages)
        lines += [f"  fullest at node {position}, {_at(graph, position)}: {_size(alive)} live"]
        there = [storage for storage in storages if storage.first <= position <= storage.last]
        there.sort(key=lambda storage: -storage.nbytes)
        lines.append(f"  {'bytes':>12}  {'nodes':<11} {'offset':>12}  what")
        for storage in there[:most]:
            lifetime = f"{storage.first}–{storage.last}"
            lines.append(f"  {storage.nbytes:>12,}  {lifetime:<11} {storage.offset:>12,}  {contents[storage]}")
        if len(there) > most:
            rest = sum(storage.nbytes for storage in there[most:])
            lines.append(f"  {rest:>12,}  in {len(there) - most} more")
    for block in plan.blocks:
        device = block.members[0].device
        lines.append(f"bucket {block.number} on {device}: {_size(block.nbytes)}, {len(block.members)} values")
    in_place = len(graph.updates) - len(plan.copied_updates)
    lines.append(f"state updates: {in_place} in place, {len(plan.copied_updates)} copied home")
    return "\n".join(lines)


def fullest(storages: Iterable[Storage]) -> tuple[int, int]:
    """The first position at which the most bytes live, and how many these are. No arena can be smaller."""
    changes: dict[int, int] = {}
    for storage in storages:
        changes[storage.first] = changes.get(storage.first, 0) + storage.nbytes
        changes[storage.last + 1] = changes.get(storage.last + 1, 0) - storage.nbytes
    alive = most = where = 0
    for position in sorted(changes):
        alive += changes[position]
        if alive > most:
            most, where = alive, position
    return where, most


def _arena_lines(graph: Graph, plan: MemoryPlan, device: Device, nbytes: int, storages: list[Storage]) -> list[str]:
    unshared = sum(storage.nbytes for storage in storages)
    lines = [f"arena on {device}: {_size(nbytes)}; {len(storages)} storages, {_size(unshared)} if none were shared"]
    workspaces = [storage for storage in plan.workspaces.values() if storage.device is device]
    if workspaces:
        largest = max(storage.nbytes for storage in workspaces)
        lines.append(f"  of these {len(workspaces)} workspaces of kernels, the largest {_size(largest)}")
    return lines


def _contents(graph: Graph, plan: MemoryPlan) -> dict[Storage, str]:
    """What lies in each storage, in words."""
    names = value_names(graph)
    held: dict[Storage, list[Value]] = {}
    for value, storage in plan.storage.items():
        held.setdefault(storage, []).append(value)
    found = {storage: f"workspace of {_node_text(node)}" for node, storage in plan.workspaces.items()}
    found.update({room: f"graphs within {_node_text(node)}" for (node, _), room in plan.rooms.items()})
    for (node, value), storage in plan.copies.items():
        found[storage] = f"%{names[value]} in order, for {_node_text(node)}"
    for storage, (first, *others) in held.items():
        made = f" = {_node_text(first.node)}" if first.node is not None else ""
        also = f" and {len(others)} more over it" if others else ""
        found[storage] = f"%{names[first]}: {first.type}{made}{also}"
    return found


def _at(graph: Graph, position: int) -> str:
    return _node_text(graph.nodes[position]) if position < len(graph.nodes) else "behind the last"


def _node_text(node: Node) -> str:
    origin = origin_text(node)
    return f"{node.op.name}  # {origin}" if origin else node.op.name


def _size(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.2f} MiB" if nbytes >= 1 << 20 else f"{nbytes / (1 << 10):.2f} KiB"
