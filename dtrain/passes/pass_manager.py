"""Runs passes in order, verifies the graph after each, and shows what each one changed.

`DTRAIN_DUMP_PASSES=1` prints a diff per pass to standard error; a comma-separated list of names prints only those.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dtrain.base.errors import expected
from dtrain.base.rank_info import rank_tag
from dtrain.graph.graph import Graph
from dtrain.graph.printer import print_graph
from dtrain.graph.verify import verify
from dtrain.passes.eliminate_common_subexpressions import eliminate_common_subexpressions
from dtrain.passes.eliminate_dead_code import eliminate_dead_code
from dtrain.passes.fold_constants import fold_constants


@dataclass(frozen=True, slots=True)
class Pass:
    """A rewrite of a graph in place. `reason` says why it stands where it stands in the order."""

    run: Callable[[Graph], None]
    reason: str

    @property
    def name(self) -> str:
        return self.run.__name__


class PassManager:
    """An ordered list of passes."""

    def __init__(self, passes: Sequence[Pass]) -> None:
        self.passes = list(passes)

    def run(self, graph: Graph) -> Graph:
        """Apply every pass to `graph`, which is changed and returned."""
        selected = _selected_dumps([item.name for item in self.passes])
        for item in self.passes:
            dumping = "1" in selected or item.name in selected
            before = print_graph(graph, sources=False) if dumping else ""
            try:
                item.run(graph)
            except Exception as error:
                if hasattr(error, "add_note"):
                    error.add_note(f"in pass {item.name} of graph {graph.name}")
                raise
            verify(graph, after=item.name)
            if dumping:
                _print_diff(item.name, before, print_graph(graph, sources=False))
        return graph


def _selected_dumps(known: Sequence[str]) -> set[str]:
    selected = {name.strip() for name in os.environ.get("DTRAIN_DUMP_PASSES", "").split(",")} - {"", "0"}
    if unknown := selected - {"1", *known}:
        wanted = "1, 0 or names among " + ", ".join(known)
        warnings.warn(expected("DTRAIN_DUMP_PASSES", wanted, ", ".join(sorted(unknown))), stacklevel=3)
    return selected


def _print_diff(name: str, before: str, after: str) -> None:
    import difflib  # only dumps need it

    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=2))
    header = f"{rank_tag()}pass {name}:" + ("" if lines else " no change")
    print(header, *lines[2:], sep="\n", file=sys.stderr)


_PIPELINE = [
    Pass(fold_constants, "first, so that equal constants are seen by the next pass"),
    Pass(eliminate_common_subexpressions, "before dead code, which removes what it made unused"),
    Pass(eliminate_dead_code, "last, after every pass that leaves nodes without readers"),
]


def default_pipeline() -> PassManager:
    """The passes of every traced function, in order. None of them changes arithmetic."""
    return PassManager(_PIPELINE)


def insert_pass(item: Pass, *, after: str) -> None:
    """Put a pass of an upper floor into the default pipeline, behind the one named `after`. Once per name."""
    names = [other.name for other in _PIPELINE]
    if after not in names:
        raise ValueError(expected("insert_pass", "one of " + ", ".join(names), after))
    if item.name not in names:
        _PIPELINE.insert(names.index(after) + 1, item)
