"""Does a graph still do what it did before a pass? Compared after every pass, by what the editor noted.

Numbers are the business of tests; this is about what other ranks and users rely on: collectives are all there, once and
in their order; what was checked is checked; nothing is read after it was overwritten, or overwritten twice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dtrain.base.errors import GraphError, expected
from dtrain.graph.effects import checks_values, group_of, memory_of, overwritten_memory, writes_of
from dtrain.graph.graph import Change, Graph, Node, Value


@dataclass(frozen=True, slots=True)
class EffectRecord:
    """The effects of a graph at one time.

    groups: its collectives in order, and the group of each.
    checks: the nodes that raise for some values.
    writes: for each value that is overwritten, by which nodes, in order.
    late_reads: for each of these nodes, how often the value is read behind it.
    """

    groups: dict[Node, str]
    checks: dict[Node, None]
    writes: dict[Value, list[Node]]
    late_reads: dict[tuple[Node, Value], int]


def record_effects(graph: Graph) -> EffectRecord:
    """What `graph` does besides computing, for a comparison after it was changed."""
    groups = {node: group for node in graph.nodes if (group := group_of(node)) is not None}
    checks = {node: None for node in graph.nodes if checks_values(node)}
    writes = overwritten_memory(graph.nodes)
    return EffectRecord(groups, checks, writes, _late_reads(graph, writes))


def _late_reads(graph: Graph, writes: dict[Value, list[Node]]) -> dict[tuple[Node, Value], int]:
    late: dict[tuple[Node, Value], int] = {}
    done: dict[Value, list[Node]] = {}
    if not writes:
        return late
    for node in graph.nodes:
        if done and node.op.view is None:
            for value in map(memory_of, node.inputs):
                for writer in done.get(value, ()):
                    late[writer, value] = late.get((writer, value), 0) + 1
        for value in dict.fromkeys(map(memory_of, writes_of(node))):
            done.setdefault(value, []).append(node)
    for value in map(memory_of, graph.results()):
        for writer in done.get(value, ()):
            late[writer, value] = late.get((writer, value), 0) + 1
    return late


def verify_effects(graph: Graph, before: EffectRecord, changes: Sequence[Change], *, after: str) -> EffectRecord:
    """Raise GraphError where a pass named `after` broke an effect that was there `before`. Returns those of now."""
    now = record_effects(graph)
    _Comparison(before, now, changes, f"verify after {after}").run()
    return now


class _Comparison:
    def __init__(self, before: EffectRecord, now: EffectRecord, changes: Sequence[Change], where: str) -> None:
        self.before = before
        self.now = now
        self.where = where
        self.proven = {change.node for change in changes if change.proven}
        self.instead: dict[Value, Value] = {}
        for change in changes:
            self.instead.update(zip(change.node.outputs, change.instead))

    def run(self) -> None:
        stands_for = self._collectives_are_there()
        self._collectives_keep_their_order(stands_for)
        self._collectives_come_once()
        self._checks_are_there()
        self._values_are_overwritten_once()
        self._nothing_is_read_late()

    def _heirs(self, node: Node) -> list[Node]:
        """The nodes whose outputs are read instead of those of `node`: itself as long as it is there."""
        heirs = []
        for value in node.outputs:
            while value in self.instead:
                value = self.instead[value]
            if value.node is not None:
                heirs.append(value.node)
        return heirs

    def _collectives_are_there(self) -> dict[Node, list[Node]]:
        """For each collective of now, those of before that it stands for."""
        stands_for: dict[Node, list[Node]] = {}
        for node, group in self.before.groups.items():
            heirs = [node] if node in self.now.groups else self._heirs(node)
            if not heirs or any(self.now.groups.get(heir) != group for heir in heirs):
                self._fail(f"every collective of group {group!r} to stay", f"{_named(node)} gone")
            for heir in dict.fromkeys(heirs):
                stands_for.setdefault(heir, []).append(node)
        return stands_for

    def _collectives_keep_their_order(self, stands_for: dict[Node, list[Node]]) -> None:
        order = {node: place for place, node in enumerate(self.before.groups)}
        kept = [node for node in self.now.groups if node in order]
        for first, second in itertools.pairwise(kept):
            if order[first] > order[second]:
                self._fail("collectives in their order", f"{_named(first)} before {_named(second)}")
        # Those that were merged or replaced pass none that stayed.
        last = -1
        firsts = self._first_kept_behind(order)
        for node in self.now.groups:
            places = [order[one] for one in stands_for.get(node, ())]
            if node in order:
                last = max(last, order[node])
            elif places and (min(places) < last or max(places) > firsts[node]):
                self._fail(f"collectives in their order, none past {_named(node)}", "one that stayed on its other side")

    def _first_kept_behind(self, order: dict[Node, int]) -> dict[Node, int]:
        """For each collective of now the earliest place before, among those behind it that stayed."""
        found, first = {}, len(order)
        for node in reversed(self.now.groups):
            found[node] = first
            first = min(first, order.get(node, first))
        return found

    def _collectives_come_once(self) -> None:
        added = [node for node in self.now.groups if node not in self.before.groups]
        if not added:
            return
        before, now = (Counter(map(_identity, record.groups)) for record in (self.before, self.now))
        for node in added:
            if now[_identity(node)] > max(1, before[_identity(node)]):
                self._fail("each collective once", f"{_named(node)} twice")

    def _checks_are_there(self) -> None:
        for node in self.before.checks:
            if node in self.now.checks or node in self.proven:
                continue
            heirs = self._heirs(node)
            if not heirs or not all(heir in self.now.checks and heir is not node for heir in heirs):
                self._fail(f"what {node.op.name} checks to be checked", f"{_named(node)} gone")

    def _values_are_overwritten_once(self) -> None:
        before: Counter[Value] = Counter()
        for value, writers in self.before.writes.items():
            before[self._present(value)] += len(writers)
        for value, writers in self.now.writes.items():
            if len(writers) > max(1, before[value]):
                self._fail(
                    "what overwrites a value, random draws among it, to stay alone", f"{_named(writers[-1])} again"
                )

    def _nothing_is_read_late(self) -> None:
        before: Counter[Value] = Counter()
        for (_, value), count in self.before.late_reads.items():
            before[self._present(value)] += count
        for (writer, value), count in self.now.late_reads.items():
            if count > before[value]:
                self._fail(f"reads before {_named(writer)} overwrites them", f"{value!r} read behind it")

    def _present(self, value: Value) -> Value:
        while value in self.instead:
            value = self.instead[value]
        return memory_of(value)

    def _fail(self, wanted: str, given: str) -> None:
        raise GraphError(expected(self.where, wanted, given, "replace nodes through dtrain.graph.editor.Editor"))


def _identity(node: Node) -> tuple[object, ...]:
    return (node.op.name, node.inputs, tuple((name, repr(value)) for name, value in node.attrs.items()))


def _named(node: Node) -> str:
    return f"{node.op.name} ({node.source})" if node.source else node.op.name
