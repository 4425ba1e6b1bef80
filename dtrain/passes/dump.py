"""`DTRAIN_DUMP_PASSES`: what passes changed, as diffs of the graph's text on standard error."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dtrain.base.errors import expected
from dtrain.base.rank_info import rank_tag
from dtrain.graph.graph import Graph
from dtrain.graph.printer import print_graph


def selected_dumps(names: Sequence[str], others: Sequence[str] = ()) -> set[str]:
    """The passes to show: those of these `names` that are asked for. `others` are passes of other graphs."""
    selected = {name.strip() for name in os.environ.get("DTRAIN_DUMP_PASSES", "").split(",")} - {"", "0"}
    known = dict.fromkeys([*names, *others])
    if unknown := selected - {"1", *known}:
        wanted = "1, 0 or names among " + ", ".join(known)
        warnings.warn(expected("DTRAIN_DUMP_PASSES", wanted, ", ".join(sorted(unknown))), stacklevel=3)
    return set(names) if "1" in selected else selected


@contextmanager
def dumps_of(name: str, graph: Graph, selected: set[str]) -> Iterator[None]:
    """Print what happens to `graph` inside, if the pass of this name is selected."""
    if name not in selected:
        yield
        return
    import difflib  # only dumps need it

    before = print_graph(graph, sources=False)
    yield
    after = print_graph(graph, sources=False)
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=2))
    header = f"{rank_tag()}pass {name}:" + ("" if lines else " no change")
    print(header, *lines[2:], sep="\n", file=sys.stderr)
