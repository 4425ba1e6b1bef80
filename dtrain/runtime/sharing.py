"""Which values of a graph lie in one storage: views in that of what they show, updates in that of their state.

One pass over the nodes. A storage keeps the values that lie in it and when the last of them is read, so that "may this
be overwritten" costs the same in a graph of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dtrain.graph.constant import CONSTANT
from dtrain.graph.effects import aliases_of
from dtrain.graph.graph import Graph, Node, Value
from dtrain.runtime.buckets import bucket_members
from dtrain.runtime.storage import Storage, storage_of

# Position of the last reader of what nobody reads.
_NEVER = -1


@dataclass(slots=True)
class Shared:
    """The storage of every value.

    `copied_updates` are the updates whose values must be copied into their states at the end of a run. The elements of
    `scattered` values do not lie in order: these are views.
    """

    storage: dict[Value, Storage]
    copied_updates: dict[int, Value]
    scattered: set[Value]


def share_storages(graph: Graph) -> Shared:
    """Give every value of the graph a storage, as few as views, aliases and updates allow."""
    sharing = _Sharing(graph)
    sharing.assign_inputs()
    for position, node in enumerate(graph.nodes):
        sharing.assign_outputs(position, node)
    copied = sharing.place_updates()
    return Shared(sharing.storage, copied, sharing.scattered)


@dataclass(slots=True)
class _Holding:
    """What a storage holds: how many values, and the position of the last node that reads one of them."""

    num_values: int = 0
    last_read: int = _NEVER


class _Sharing:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.storage: dict[Value, Storage] = {}
        self.end = len(graph.nodes)
        self._holdings: dict[Storage, _Holding] = {}
        self._last_read = self._last_reads()
        self._laid: dict[Value, np.ndarray] = {}
        self._views: set[Value] = set()  # those that share memory with what they show
        self.scattered: set[Value] = set()
        self._packed = {value for node in graph.nodes for value in bucket_members(node)}

    def _last_reads(self) -> dict[Value, int]:
        last: dict[Value, int] = {}
        for position, node in enumerate(self.graph.nodes):
            for value in node.inputs:
                last[value] = position
        for value in self.graph.results():
            last[value] = self.end
        return last

    def _assign(self, value: Value, storage: Storage) -> None:
        self.storage[value] = storage
        holding = self._holdings.get(storage)
        if holding is None:
            holding = self._holdings[storage] = _Holding()
        holding.num_values += 1
        holding.last_read = max(holding.last_read, self._last_read.get(value, _NEVER))

    def assign_inputs(self) -> None:
        for position, value in enumerate(self.graph.arguments):
            self._assign(value, storage_of(value.type, "argument", position, first=0, last=self.end))
        for position, value in enumerate(self.graph.states):
            self._assign(value, storage_of(value.type, "state", position, first=0, last=self.end))

    def assign_outputs(self, position: int, node: Node) -> None:
        if node.op is CONSTANT:
            (value,) = node.outputs
            self._assign(value, storage_of(value.type, "constant", first=position, last=self.end))
            return
        if node.op.view is None or not self._share_view(node):
            self._share_aliases(position, node)
        for value in node.outputs:
            storage = self.storage[value]
            storage.last = max(storage.last, self._last_read.get(value, position))

    def _share_view(self, node: Node) -> bool:
        assert node.op.view is not None
        source, value = self._lay(node.inputs[0]), node.outputs[0]
        viewed = node.op.view.function(source, **node.attrs)
        if source.size and not np.may_share_memory(source, viewed):
            return False
        self._laid[value] = viewed
        self._assign(value, self.storage[node.inputs[0]])
        self._views.add(value)
        if not viewed.flags.c_contiguous:
            self.scattered.add(value)
        return True

    def _lay(self, value: Value) -> np.ndarray:
        """An array that lies as the value will, in bytes. Its elements mean nothing: pages not touched cost nothing."""
        laid = self._laid.get(value)
        if laid is None:
            laid = self._laid[value] = np.empty(value.type.array_shape, np.uint8)
        return laid

    def _share_aliases(self, position: int, node: Node) -> None:
        aliases = aliases_of(node)
        num_reads = Counter([self.storage[value] for value in node.inputs]) if aliases else {}
        for index, value in enumerate(node.outputs):
            source = node.inputs[aliases[index]] if index in aliases else None
            if source is not None and source.type is value.type and self._may_overwrite(source, position, num_reads):
                self._assign(value, self.storage[source])
            else:
                self._assign(value, storage_of(value.type, "arena", first=position, last=position))

    def _may_overwrite(self, source: Value, position: int, num_reads: Mapping[Storage, int]) -> bool:
        """Whether nobody needs the old contents of `source` once the node at `position` has run."""
        storage = self.storage[source]
        if storage.place in ("argument", "constant") or source in self._views:
            return False
        # A state that this run leaves alone must keep its elements.
        if storage.place == "state" and storage.position not in self.graph.updates:
            return False
        return num_reads[storage] == 1 and self._holdings[storage].last_read <= position

    def place_updates(self) -> dict[int, Value]:
        """Let an update be computed in the memory of its state where nobody reads the old value later.

        Returns the others, which must be copied there at the end of a run.
        """
        copied: dict[int, Value] = {}
        states = self.graph.states
        for position, value in self.graph.updates.items():
            state, mine = self.storage[states[position]], self.storage[value]
            if mine is state:
                continue
            movable = mine.place == "arena" and self._holdings[mine].num_values == 1 and value not in self._packed
            # The node that makes the new value must not read the old one: only an alias says that this is safe.
            if movable and self._holdings[state].last_read < mine.first:
                self._assign(value, state)
            else:
                copied[position] = value
                mine.last = self.end
        return copied
