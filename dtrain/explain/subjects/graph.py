"""`dtrain explain graph SCRIPT …`: the graph of a traced function, and what each pass changed in it and why.

The script runs as it would by itself, with what stands behind it as its arguments, up to its first capture. What it
prints goes to standard error.

    dtrain explain graph train.py --epochs 1
    dtrain explain graph --function step train.py         the first capture of this function
    dtrain explain graph --graphs 0 train.py              all captures, until the script ends
    dtrain explain graph --json train.py

Functions that have passes of their own, `trace(passes=…)`, are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from dtrain.base.errors import expected
from dtrain.core.graph_passes import graph_passes
from dtrain.graph.graph import Change, Graph
from dtrain.graph.printer import print_graph
from dtrain.passes import DEFAULT_PIPELINE, Pass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--function", default="", metavar="NAME", help="only captures of the function of this name")
    parser.add_argument(
        "--graphs", type=int, default=1, metavar="N", help="end the script after N; 0: never (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("script", metavar="SCRIPT", help="the script that calls a traced function")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="its arguments")


def run(args: argparse.Namespace) -> int:
    """Run the script and print what was captured; the exit status. Raises ValueError where nothing was."""
    if not os.path.isfile(args.script):
        raise ValueError(expected("SCRIPT", "a script", f"{args.script!r}, which is no file"))
    explained = _Explained(args.function, args.graphs)
    try:
        with graph_passes(explained), redirect_stdout(sys.stderr):
            _run_script(args.script, args.arguments)
    except _Enough:
        pass
    except SystemExit as leaving:
        if leaving.code not in (None, 0) and not explained.graphs:
            return leaving.code if isinstance(leaving.code, int) else 1
    except Exception:
        traceback.print_exc()
        return 1
    if not explained.graphs:
        wanted = f"a script that calls the traced function {args.function}" if args.function else _WANTED
        raise ValueError(expected("SCRIPT", wanted, f"no capture in {args.script}"))
    if args.json:
        print(json.dumps([graph.as_dict() for graph in explained.graphs], indent=1))
    else:
        print("\n\n".join(map(str, explained.graphs)))
    return 0


_WANTED = "a script that calls a traced function"


class _Enough(BaseException):
    """Ends the script, which catches exceptions of its own at most."""


def _run_script(script: str, arguments: Sequence[str]) -> None:
    argv, path = sys.argv, sys.path[0]
    sys.argv, sys.path[0] = [script, *arguments], os.path.dirname(os.path.abspath(script))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv, sys.path[0] = argv, path


class _Explained:
    """A pipeline that does what the default one does, and remembers it."""

    def __init__(self, function: str, limit: int) -> None:
        self.graphs: list[ExplainedGraph] = []
        self._function = function
        self._limit = limit

    def __call__(self, graph: Graph) -> Graph:
        if self._function and graph.name != self._function:
            return DEFAULT_PIPELINE(graph)
        explained = ExplainedGraph(graph.name, len(graph.nodes))
        graph = DEFAULT_PIPELINE.with_observer(explained.note)(graph)
        explained.num_nodes, explained.text = len(graph.nodes), print_graph(graph)
        self.graphs.append(explained)
        if len(self.graphs) == self._limit:
            raise _Enough
        return graph


@dataclass(slots=True)
class ExplainedGraph:
    """One capture: how it was optimized, and what became of it."""

    function: str
    num_captured: int
    num_nodes: int = 0
    text: str = ""
    passes: list[dict[str, Any]] = field(default_factory=list)

    def note(self, item: Pass, graph: Graph, changes: Sequence[Change]) -> None:
        """A pass has run, with these changes."""
        found = [
            {
                "kind": change.kind,
                "op": change.node.op.name,
                "scope": change.node.scope,
                "source": change.node.source,
                "reason": change.reason,
            }
            for change in changes
        ]
        self.passes.append({"name": item.name, "order": item.reason, "nodes": len(graph.nodes), "changes": found})

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "function": self.function,
            "captured_nodes": self.num_captured,
            "nodes": self.num_nodes,
            "passes": self.passes,
            "graph": self.text,
        }

    def __str__(self) -> str:
        lines = [f"{self.function}: {self.num_captured} nodes captured, {self.num_nodes} after all passes"]
        before = self.num_captured
        for item in self.passes:
            lines.append(f"\n{item['name']}: {before} → {item['nodes']} nodes ({item['order']})")
            lines += _lines_of(item["changes"]) or ["  changes nothing"]
            before = item["nodes"]
        return "\n".join([*lines, "", self.text])


def _lines_of(changes: Sequence[dict[str, Any]]) -> list[str]:
    """One line for what was done to an op for one reason, with the places where."""
    counts = Counter((change["kind"], change["op"], change["reason"]) for change in changes)
    lines = []
    for (kind, op, reason), count in counts.items():
        places = dict.fromkeys(
            " ".join(filter(None, (f"[{change['scope']}]" if change["scope"] else "", change["source"])))
            for change in changes
            if (change["kind"], change["op"], change["reason"]) == (kind, op, reason)
        )
        shown = ", ".join(list(places)[:3]) + (", …" if len(places) > 3 else "")
        lines.append(f"  {kind} {count} × {op}: {reason}  # {shown}")
    return lines
