"""The memory plan by its definition: every question looks at all values, every placement at all storages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph, Node, Value
from dtrain.runtime.buckets import bucket_members
from dtrain.runtime.placement import Placed
from dtrain.runtime.storage import Storage, storage_of


def slow_place(items: Sequence[Placed]) -> list[int]:
    """Offsets, in the order of the items: largest first, each at the lowest offset that is free while it lives."""
    offsets: dict[int, int] = {}
    for number in sorted(range(len(items)), key=lambda number: (-items[number].nbytes, items[number].first)):
        item = items[number]
        taken = [
            (offset, offset + items[other].nbytes)
            for other, offset in offsets.items()
            if items[other].first <= item.last and item.first <= items[other].last
        ]
        candidates = sorted([0, *(end for _, end in taken)])
        offsets[number] = next(
            start for start in candidates if all(start + item.nbytes <= begin or end <= start for begin, end in taken)
        )
    return [offsets[number] for number in range(len(items))]


class SlowSharing:
    """The storage of every value, and the updates to copy home."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.storage: dict[Value, Storage] = {}
        self.copied_updates: dict[int, Value] = {}
        self.views: set[Value] = set()
        self.arrays: dict[Value, np.ndarray] = {}
        end = len(graph.nodes)
        for place, values in (("argument", graph.arguments), ("state", graph.states)):
            for position, value in enumerate(values):
                self.storage[value] = storage_of(value.type, place, position, first=0, last=end)  # type: ignore[arg-type]
        for position, node in enumerate(graph.nodes):
            self._assign(position, node)
        self._place_updates()

    def last_read(self, value: Value) -> int:
        if value in self.graph.results():
            return len(self.graph.nodes)
        return max((at for at, node in enumerate(self.graph.nodes) if value in node.inputs), default=-1)

    def _read_until(self, storage: Storage) -> int:
        return max(self.last_read(value) for value, other in self.storage.items() if other is storage)

    def _assign(self, position: int, node: Node) -> None:
        if node.op is CONSTANT:
            end = len(self.graph.nodes)
            self.storage[node.outputs[0]] = storage_of(node.outputs[0].type, "constant", first=position, last=end)
            return
        aliases = node.op.aliases_of(node.attrs)
        for index, value in enumerate(node.outputs):
            if self._is_view(node):
                self.views.add(value)
                self.storage[value] = self.storage[node.inputs[0]]
            elif index in aliases and self._may_overwrite(node.inputs[aliases[index]], value, position, node):
                self.storage[value] = self.storage[node.inputs[aliases[index]]]
            else:
                self.storage[value] = storage_of(value.type, "arena", first=position, last=position)
        for value in node.outputs:
            storage = self.storage[value]
            storage.last = max(storage.last, position, self.last_read(value))

    def _is_view(self, node: Node) -> bool:
        if node.op.view is None:
            return False
        type = node.inputs[0].type
        source = self.arrays.setdefault(node.inputs[0], np.zeros(type.shape, type.dtype.numpy))
        viewed = node.op.view.function(source, **node.attrs)
        if not np.may_share_memory(viewed, source):
            return False
        self.arrays[node.outputs[0]] = viewed
        return True

    def _may_overwrite(self, source: Value, value: Value, position: int, node: Node) -> bool:
        storage = self.storage[source]
        if source.type is not value.type or source in self.views or storage.place in ("argument", "constant"):
            return False
        if storage.place == "state" and storage.position not in self.graph.updates:
            return False
        return [self.storage[v] for v in node.inputs].count(storage) == 1 and self._read_until(storage) <= position

    def _place_updates(self) -> None:
        packed = {value for node in self.graph.nodes for value in bucket_members(node)}
        for position, value in self.graph.updates.items():
            state, mine = self.storage[self.graph.states[position]], self.storage[value]
            if mine is state:
                continue
            alone = list(self.storage.values()).count(mine) == 1 and mine.place == "arena" and value not in packed
            if alone and self._read_until(state) < mine.first:
                self.storage[value] = state
            else:
                self.copied_updates[position] = value
                mine.last = len(self.graph.nodes)
