"""Changes a graph in place: inserts, replaces and erases nodes, keeps readers and results up to date, and says why.

    with Editor(graph) as editor:
        for node in editor.nodes():
            …
            editor.replace(node, [value], reason="what it is good for")

Every change costs what it touches, wherever in the graph it is. The order of the nodes is written back when the block
ends. The record of changes (`graph.changes`) tells `verify` which node stands for which, and people what happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from dtrain.base.errors import GraphError, expected
from dtrain.graph.constant import CONSTANT
from dtrain.graph.effects import aliases_of, memory_of, overwritten_memory
from dtrain.graph.graph import Change, Graph, Node, Value
from dtrain.graph.inference import infer_types
from dtrain.graph.op import Op


class Editor:
    """One round of changes to a graph. Until it ends, `nodes()` has the order, not `graph.nodes`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._readers: dict[Value, dict[Node, None]] = {}
        # A ring of neighbours; None stands between the last node and the first.
        self._next: dict[Node | None, Node | None] = {}
        self._previous: dict[Node | None, Node | None] = {}
        self._place: dict[Node, int] = {}  # nodes that are inserted have that of their neighbour
        self._erased: set[Node] = set()
        self._results = set(graph.results())
        self._overwritten: dict[Value, list[Node]] | None = None
        before: Node | None = None
        for place, node in enumerate(graph.nodes):
            self._next[before], self._previous[node], self._place[node] = node, before, place
            for value in node.inputs:
                self._readers.setdefault(value, {})[node] = None
            before = node
        self._next[before], self._previous[None] = None, before

    def __enter__(self) -> Editor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.graph.nodes = list(self.nodes())

    # What there is --------------------------------------------------------------------------------------------------

    def nodes(self, *, backwards: bool = False) -> Iterator[Node]:
        """The nodes in order. Those on the way may be erased, and others inserted, meanwhile."""
        neighbour = self._previous if backwards else self._next
        node = neighbour[None]
        while node is not None:
            if node not in self._erased:
                yield node
            node = neighbour[node]

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read a value, each once."""
        return list(self._readers.get(value, ()))

    def is_result(self, value: Value) -> bool:
        """Whether the graph gives a value back, or leaves it in a state."""
        return value in self._results

    def is_read(self, node: Node) -> bool:
        """Whether anybody needs an output of `node`."""
        return any(self._readers.get(value) or value in self._results for value in node.outputs)

    def is_overwritten(self, value: Value) -> bool:
        """Whether some node overwrites the memory of a value."""
        return memory_of(value) in self._writers()

    def may_stand_for(self, new: Value, old: Value) -> bool:
        """Whether readers of `old` may read `new` instead: none of them comes after what overwrites `new`."""
        if self.is_overwritten(old):
            return self._never_changes(memory_of(new))
        writers = self._writers().get(memory_of(new))
        if not writers:
            return True
        first = min(self._place[writer] for writer in writers)
        return all(place < first for place in self._reading_places(old))

    def _writers(self) -> dict[Value, list[Node]]:
        if self._overwritten is None:
            self._overwritten = overwritten_memory(self.nodes())
        return self._overwritten

    def _never_changes(self, value: Value) -> bool:
        return value.node.op is CONSTANT if value.node is not None else value not in self.graph.states

    def _reading_places(self, value: Value) -> Iterator[float]:
        """Where the elements of a value are read, through views too; ∞ for a result."""
        if value in self._results:
            yield float("inf")
        for node in self._readers.get(value, ()):
            yield self._place[node]
            if node.op.view is not None:
                yield from self._reading_places(node.outputs[0])

    # Changes --------------------------------------------------------------------------------------------------------

    def insert_before(
        self, neighbour: Node, op: Op, inputs: Iterable[Value], attrs: Mapping[str, Any] | None = None, *, reason: str
    ) -> Node:
        """A new node right before another one, whose line and scope it gets. Its types come from the op's inference."""
        node = _new_node(op, inputs, attrs, neighbour)
        self._link(self._previous[neighbour], node, neighbour, place=self._place[neighbour])
        return self._inserted(node, reason)

    def insert_after(
        self,
        neighbour: Node | None,
        op: Op,
        inputs: Iterable[Value],
        attrs: Mapping[str, Any] | None = None,
        *,
        like: Node | None = None,
        reason: str,
    ) -> Node:
        """A new node right behind another one; behind None is the beginning.

        Args:
            like: the node whose source line and scope it gets, if not its neighbour.
        """
        node = _new_node(op, inputs, attrs, like or neighbour)
        place = -1 if neighbour is None else self._place[neighbour]
        self._link(neighbour, node, self._next[neighbour], place=place)
        return self._inserted(node, reason)

    def replace(self, node: Node, values: Sequence[Value], *, reason: str, proven: bool = False) -> None:
        """Let the readers of each output of `node` read the value of the same position in `values`; erase `node`.

        Args:
            proven: what `node` checks holds for all values, or was checked.
        """
        if len(values) != len(node.outputs):
            given = f"{len(values)} for {len(node.outputs)}"
            raise GraphError(expected("Editor.replace", f"a value for each output of {node.op.name}", given))
        for old, new in zip(node.outputs, values):
            if new.type is not old.type:
                raise GraphError(
                    expected("Editor.replace", f"{old.type} in the place of {node.op.name}", str(new.type))
                )
            self._redirect(old, new)
        self._unlink(node)
        self.graph.changes.append(Change("replace", node, reason, tuple(values), proven))

    def erase(self, node: Node, *, reason: str, proven: bool = False) -> None:
        """Take out a node that nobody reads."""
        if self.is_read(node):
            raise GraphError(expected("Editor.erase", f"a {node.op.name} that nobody reads", "one that is read"))
        self._unlink(node)
        self.graph.changes.append(Change("erase", node, reason, (), proven))

    def _redirect(self, old: Value, new: Value) -> None:
        if old is new:
            return
        for reader in self._readers.pop(old, ()):
            reader.inputs = tuple([new if value is old else value for value in reader.inputs])
            self._readers.setdefault(new, {})[reader] = None
            if aliases_of(reader):
                self._overwritten = None
        if old in self._results:
            self._results.remove(old)
            self._results.add(new)
            self.graph.outputs = [new if value is old else value for value in self.graph.outputs]
            self.graph.updates = {state: new if value is old else value for state, value in self.graph.updates.items()}

    def _inserted(self, node: Node, reason: str) -> Node:
        for value in node.inputs:
            self._readers.setdefault(value, {})[node] = None
        if aliases_of(node):
            self._overwritten = None
        self.graph.changes.append(Change("insert", node, reason))
        return node

    def _link(self, before: Node | None, node: Node, behind: Node | None, *, place: int) -> None:
        self._next[before], self._previous[node] = node, before
        self._next[node], self._previous[behind] = behind, node
        self._place[node] = place

    def _unlink(self, node: Node) -> None:
        # Its own neighbours stay noted: whoever stands at it in `nodes()` goes on from there.
        before, behind = self._previous[node], self._next[node]
        self._next[before], self._previous[behind] = behind, before
        self._erased.add(node)
        for value in node.inputs:
            self._readers[value].pop(node, None)
        if aliases_of(node):
            self._overwritten = None


def _new_node(op: Op, inputs: Iterable[Value], attrs: Mapping[str, Any] | None, like: Node | None) -> Node:
    inputs = tuple(inputs)
    node = Node(op, inputs, infer_types(op, [value.type for value in inputs], attrs or {}), attrs)
    if like is not None:
        node.source, node.scope = like.source, like.scope
    return node
