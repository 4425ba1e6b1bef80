"""Graphs from text, run by kernels alone: in a process where no families of ops, tensors or gradients are loaded.

The text of a graph holds the types of all its values, so that a run infers nothing. Of an op it needs the kernels of
its name, or the function that shows its input (`kernels/views.py`).

Whoever loads `dtrain.opset` as well, which needs no tensors either, can read any graph by `parse_graph`, verify and
optimize it. Here nothing of it is needed: graphs with laid-out or quantized values are refused, since rules of
the families say what becomes of them; and where a family is not loaded, nobody knows which input an update may
overwrite, so the new value is computed beside the old one and copied over it at the end of the run. Collectives have
their kernels from `dtrain.collectives`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NoReturn

import dtrain.graph.constant  # noqa: F401  registers its op
from dtrain.base.errors import DtrainError, DtypeError, GraphError, LayoutError, expected
from dtrain.base.layout import PLAIN
from dtrain.graph.graph import Graph, Value
from dtrain.graph.op import Op, get_op
from dtrain.graph.printer import parse_graph
from dtrain.kernels.registry import all_kernels, kernels_of
from dtrain.kernels.views import VIEWS


def parse_to_run(text: str) -> Graph:
    """Read back what `print_graph` wrote, for an `Executor`. Ops whose families are not loaded are taken as they run.

    Raises:
        GraphError: a line does not fit, or names an op of which no kernel is known.
        LayoutError, DtypeError: a value is laid out or quantized.
    """
    graph = parse_graph(text, find_op=op_to_run)
    for value in (*graph.arguments, *graph.states, *(value for node in graph.nodes for value in node.outputs)):
        if not value.type.is_plain:
            raise _not_plain(value)
    return graph


def _not_plain(value: Value) -> DtrainError:
    advice = "import dtrain.opset, which has the rules for these, and read the text with parse_graph"
    given = f"{value.name or 'a value'} {value.type}"
    if value.type.layout is not PLAIN:
        return LayoutError(expected("parse_to_run", "values in the plain layout", given, advice))
    return DtypeError(expected("parse_to_run", "plain numbers", given, advice))


def op_to_run(name: str) -> Op:
    """The registered op of this name, else a record of what a run needs. KeyError where nothing computes it."""
    try:
        return get_op(name)
    except KeyError:
        if name not in VIEWS and not kernels_of(name):
            known = {candidate.op for candidate in all_kernels()} | set(VIEWS)
            near = ", ".join(get_close_matches(name, known)) or "no similar name"
            advice = "import dtrain.collectives if it is one of theirs"
            raise KeyError(expected("op", f"a kernel or a view of this name (near: {near})", name, advice)) from None
        return Op(name=name, infer=_no_inference)


def _no_inference(*types: Any, **attrs: Any) -> NoReturn:
    advice = "import dtrain.opset, which registers its family, before you change or verify the graph"
    raise GraphError(expected("infer", "an op whose family is loaded", "one known by its kernels alone", advice))
