"""Where every value of a graph lies in memory: decided once, before the first run.

Values live in *storages*. A view shares the storage of what it views, an update op's output that of the input it
overwrites. Storages of states, arguments and constants are given from outside; the others are placed in one arena by
lifetime, so that memory is used again (greedy by size, Pisarchyk & Lee, "Efficient Memory Management for Deep Neural
Net Inference", 2020). Inputs that an op reads in a bucket (`runtime/buckets.py`) form one block, in order, in memory of
its own (which may be shared with other ranks), so that packing needs no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dtrain.base.alignment import ALIGNMENT, aligned
from dtrain.base.errors import GraphError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.graph import Graph, Node, Value
from dtrain.runtime.buckets import BucketRequest, bucket_members


@dataclass(slots=True, eq=False)
class Storage:
    """Memory of one or more values. `place` says whose: the arena's or given from outside.

    `first` and `last` are the positions of the nodes between which its contents matter.
    """

    type: TensorType
    place: Literal["arena", "argument", "state", "constant"]
    position: int = 0  # of the argument or state
    first: int = 0
    last: int = 0
    offset: int = 0
    block: Block | None = None

    @property
    def nbytes(self) -> int:
        # At least one unit, so that addresses differ.
        return max(ALIGNMENT, aligned(self.type.nbytes))


@dataclass(slots=True, eq=False)
class Block:
    """Storages that must lie one after another: bucket `number` of the plan, which `node` reads.

    Members' offsets count from the begin of the block.
    """

    number: int
    node: Node
    members: list[Storage] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(member.nbytes for member in self.members)

    @property
    def request(self) -> BucketRequest:
        """What is asked of whoever provides buckets."""
        return BucketRequest(self.number, self.node, self.nbytes, self.members[0].type.device)


@dataclass(slots=True)
class MemoryPlan:
    """The storage of every value, the bytes of the arena, and which state updates must be copied home at the end."""

    storage: dict[Value, Storage]
    arena_nbytes: int
    copied_updates: dict[int, Value]
    blocks: list[Block]

    @property
    def total_nbytes(self) -> int:
        """Bytes that the arena's storages would need without sharing."""
        storages = dict.fromkeys(self.storage.values())
        return sum(s.nbytes for s in storages if s.place == "arena" and s.block is None)


def plan_memory(graph: Graph) -> MemoryPlan:
    """Assign a storage to every value of the graph and an offset to every storage of the arena."""
    planner = _Planner(graph)
    planner.assign_inputs()
    for position, node in enumerate(graph.nodes):
        planner.assign_outputs(position, node)
    copied = planner.place_updates()
    blocks = planner.make_blocks()
    arena_nbytes = _assign_offsets(planner.storages())
    return MemoryPlan(planner.storage, arena_nbytes, copied, blocks)


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.storage: dict[Value, Storage] = {}
        self.end = len(graph.nodes)
        self.last_read = self._last_reads()
        self.dummies: dict[Value, np.ndarray] = {}
        self.views: set[Value] = set()  # those that share memory with what they show
        self.packed = {value for node in graph.nodes for value in bucket_members(node)}

    def _last_reads(self) -> dict[Value, int]:
        last: dict[Value, int] = {}
        for position, node in enumerate(self.graph.nodes):
            for value in node.inputs:
                last[value] = position
        for value in self.graph.results():
            last[value] = self.end
        return last

    def storages(self) -> list[Storage]:
        return list(dict.fromkeys(self.storage.values()))

    def assign_inputs(self) -> None:
        for position, value in enumerate(self.graph.arguments):
            self.storage[value] = Storage(value.type, "argument", position, 0, self.end)
        for position, value in enumerate(self.graph.states):
            self.storage[value] = Storage(value.type, "state", position, 0, self.end)

    def _dummy(self, value: Value) -> np.ndarray:
        # Untouched pages cost nothing; only shape and strides matter.
        if value not in self.dummies:
            self.dummies[value] = np.empty(value.type.shape, value.type.dtype.numpy)
        return self.dummies[value]

    def assign_outputs(self, position: int, node: Node) -> None:
        if node.op.name == "constant":
            self.storage[node.outputs[0]] = Storage(node.outputs[0].type, "constant", 0, position, self.end)
            return
        if node.op.view is not None and self._share_view(node):
            self._touch(node, position)
            return
        aliases = node.op.aliases_of(node.attrs)
        for index, value in enumerate(node.outputs):
            source = node.inputs[aliases[index]] if index in aliases else None
            if source is not None and source.type is value.type and self._may_overwrite(source, position, node):
                self.storage[value] = self.storage[source]
            else:
                self.storage[value] = Storage(value.type, "arena", 0, position, position)
        self._touch(node, position)

    def _share_view(self, node: Node) -> bool:
        assert node.op.view is not None
        source = self._dummy(node.inputs[0])
        viewed = node.op.view(source, **node.attrs)
        if source.size and not np.may_share_memory(source, viewed):
            return False
        self.dummies[node.outputs[0]] = viewed
        self.storage[node.outputs[0]] = self.storage[node.inputs[0]]
        self.views.add(node.outputs[0])
        return True

    def _touch(self, node: Node, position: int) -> None:
        for value in node.outputs:
            storage = self.storage[value]
            storage.last = max(storage.last, self.last_read.get(value, position))

    def _may_overwrite(self, source: Value, position: int, node: Node) -> bool:
        """Whether nobody needs the old contents of `source` once `node` has run."""
        storage = self.storage[source]
        if storage.place in ("argument", "constant") or source in self.views:
            return False
        # A state that this run leaves alone must keep its elements.
        if storage.place == "state" and storage.position not in self.graph.updates:
            return False
        sharing = [value for value, other in self.storage.items() if other is storage]
        num_readers = sum(self.storage[value] is storage for value in node.inputs)
        return num_readers == 1 and all(self.last_read.get(value, -1) <= position for value in sharing)

    def place_updates(self) -> dict[int, Value]:
        """Let an update be computed in the memory of its state where nobody reads the old value later."""
        copied: dict[int, Value] = {}
        for position, value in self.graph.updates.items():
            state = self.storage[self.graph.states[position]]
            mine = self.storage[value]
            if mine is state:
                continue
            sole = sum(other is mine for other in self.storage.values()) == 1
            movable = mine.place == "arena" and sole and value not in self.packed
            if movable and self._old_value_dead(state, mine):
                self.storage[value] = state
            else:
                copied[position] = value
                mine.last = self.end
        return copied

    def _old_value_dead(self, state: Storage, new: Storage) -> bool:
        readers = [value for value, other in self.storage.items() if other is state]
        # The node that makes the new value must not read the old one: only an alias says that this is safe.
        return all(self.last_read.get(value, -1) < new.first for value in readers)

    def make_blocks(self) -> list[Block]:
        blocks: list[Block] = []
        for node in self.graph.nodes:
            members = [self.storage[value] for value in bucket_members(node)]
            if not members:
                continue
            for storage in members:
                if storage.place != "arena" or storage.block is not None or members.count(storage) > 1:
                    given = f"{storage.type} in {storage.place} memory"
                    raise GraphError(
                        expected(
                            f"memory plan of {node.op.name}", "inputs of its own to pack", given, "copy them first"
                        )
                    )
            block = Block(len(blocks), node, members)
            offset = 0
            for storage in members:
                storage.block, storage.offset = block, offset
                offset += storage.nbytes
            blocks.append(block)
        return blocks


def _assign_offsets(storages: Sequence[Storage]) -> int:
    """Place the arena's storages, largest first, at the lowest offset that is free during their lifetime."""
    items = [storage for storage in storages if storage.place == "arena" and storage.block is None]
    items.sort(key=lambda storage: (-storage.nbytes, storage.first))
    placed: list[Storage] = []
    for item in items:
        item.offset = _lowest_gap(item, placed)
        placed.append(item)
    return max((item.offset + item.nbytes for item in items), default=0)


def _lowest_gap(item: Storage, placed: Sequence[Storage]) -> int:
    alive = [other for other in placed if other.first <= item.last and item.first <= other.last]
    offset = 0
    for other in sorted(alive, key=lambda other: other.offset):
        if other.offset - offset >= item.nbytes:
            break
        offset = max(offset, other.offset + other.nbytes)
    return offset
