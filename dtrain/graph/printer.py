"""The text form of a graph, stable enough to diff and complete enough to parse back.

    graph step(%0: f32[8,64]@cpu; %w: f32[64,10]@cpu) {
      %1: f32[8,10]@cpu = matmul(%0, %w)  # [head] train.py:12
      return %1; %w <- %1
    }

Arguments stand before the semicolon, states after it; `%w <- %1` is the update of a state. Behind `#` stand the module
and the line of the user's code that a node comes from.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from dtrain.base.errors import GraphError, expected
from dtrain.base.tensor_type import TensorType, parse_tensor_type
from dtrain.graph.attrs import parse_attrs, print_attrs, split_top_level
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import Op, get_op


def print_graph(graph: Graph, *, sources: bool = True) -> str:
    """The text of a graph. Values are numbered in order; inputs keep their names where they are unique."""
    names = value_names(graph)
    arguments = ", ".join(f"%{names[v]}: {v.type}" for v in graph.arguments)
    states = ", ".join(f"%{names[v]}: {v.type}" for v in graph.states)
    lines = [f"graph {_word(graph.name) or 'graph'}({arguments}; {states}) {{"]
    lines += ["  " + _print_node(node, names, sources) for node in graph.nodes]
    updates = "; ".join(f"%{names[graph.states[i]]} <- %{names[v]}" for i, v in sorted(graph.updates.items()))
    returned = "return " + ", ".join(f"%{names[v]}" for v in graph.outputs)
    lines.append("  " + (f"{returned}; {updates}" if updates else returned))
    return "\n".join([*lines, "}"])


def _word(name: str) -> str:
    """A name with nothing in it that the grammar reads."""
    return re.sub(r"[^\w.]", "_", name)


def value_names(graph: Graph) -> dict[Value, str]:
    """What the text of a graph calls its values, without the %."""
    names: dict[Value, str] = {}
    given = {_word(value.name) for value in graph.inputs}
    taken: set[str] = set()
    for value in graph.inputs:
        name = _word(value.name)
        if not name or name.isdigit() or name in taken:
            name = next(free for free in (f"in{i}" for i in itertools.count(len(names))) if free not in given | taken)
        taken.add(name)
        names[value] = name
    count = 0
    for node in graph.nodes:
        for value in node.outputs:
            names[value] = str(count)
            count += 1
    return names


def _print_node(node: Node, names: dict[Value, str], sources: bool) -> str:
    outputs = ", ".join(f"%{names[v]}: {v.type}" for v in node.outputs)
    inputs = ", ".join(f"%{names[v]}" for v in node.inputs)
    text = f"{outputs} = " if outputs else ""
    text += f"{node.op.name}({inputs}){print_attrs(node.attrs)}"
    origin = origin_text(node) if sources else ""
    return f"{text}  # {origin}" if origin else text


def origin_text(node: Node) -> str:
    """`[layer1.conv] train.py:12`; brackets are left out with an empty scope, unless the rest begins with some."""
    scope = _word(node.scope)
    return f"[{scope}] {node.source}".rstrip() if scope or node.source.startswith("[") else node.source


_HEADER = re.compile(r"graph ([\w.]+)\((.*); ?(.*)\) \{")
_NODE = re.compile(
    r"(?:(?P<outputs>%.*?) = )?(?P<op>\w+)\((?P<inputs>[%\w., ]*)\)(?:\{(?P<attrs>.*)\})?(?:  # (?P<source>.*))?"
)
_ORIGIN = re.compile(r"(?:\[([\w.]*)\] ?)?(.*)")


def parse_graph(text: str, *, find_op: Callable[[str], Op] = get_op) -> Graph:
    """Read back what `print_graph` wrote. `find_op` gives the op of a name, or raises KeyError.

    Raises GraphError with the line that does not fit.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None or len(lines) < 3 or lines[-1] != "}":
        raise GraphError(
            expected("graph text", "graph name(arguments; states) { … }", lines[0] if lines else "nothing")
        )
    graph = Graph(header[1])
    values: dict[str, Value] = {}
    for part in split_top_level(header[2]):
        name, type = _typed(part)
        _define(values, name, graph.add_argument(type, name))
    for part in split_top_level(header[3]):
        name, type = _typed(part)
        _define(values, name, graph.add_state(type, name))
    for line in lines[1:-2]:
        _parse_node(graph, values, line, find_op)
    _parse_return(graph, values, lines[-2])
    return graph


def _typed(part: str) -> tuple[str, TensorType]:
    name, _, type = part.partition(": ")
    return name.removeprefix("%"), parse_tensor_type(type)


def _define(values: dict[str, Value], name: str, value: Value) -> None:
    if name in values:
        raise GraphError(expected("graph text", "each value defined once", f"%{name} again"))
    values[name] = value


def _lookup(values: dict[str, Value], name: str) -> Value:
    name = name.strip().removeprefix("%")
    if name not in values:
        raise GraphError(expected("graph text", "a value that an earlier line defines", f"%{name}"))
    return values[name]


def _parse_node(graph: Graph, values: dict[str, Value], line: str, find_op: Callable[[str], Op]) -> None:
    match = _NODE.fullmatch(line)
    if match is None:
        raise GraphError(expected("graph text", "%out: type = op(%in){attrs}", line))
    try:
        op = find_op(match["op"])
    except KeyError as error:
        raise GraphError(f"graph text: {error.args[0]}, in {line}") from None
    inputs = [_lookup(values, part) for part in split_top_level(match["inputs"])]
    outputs = [_typed(part) for part in split_top_level(match["outputs"] or "")]
    attrs = parse_attrs(match["attrs"] or "")
    scope, source = _ORIGIN.fullmatch(match["source"] or "").groups("")  # type: ignore[union-attr]  # matches all texts
    node = Node(op, inputs, [type for _, type in outputs], attrs, source=source, scope=scope)
    graph.nodes.append(node)
    for (name, _), value in zip(outputs, node.outputs):
        _define(values, name, value)


def _parse_return(graph: Graph, values: dict[str, Value], line: str) -> None:
    keyword, _, rest = line.partition(" ")
    if keyword != "return":
        raise GraphError(expected("graph text", "return %value, …; %state <- %value at the end", line))
    first, *updates = rest.split(";")
    graph.outputs = [_lookup(values, part) for part in split_top_level(first)]
    states = {value: position for position, value in enumerate(graph.states)}
    for update in updates:
        name, _, new = update.partition("<-")
        state = _lookup(values, name)
        if state not in states:
            raise GraphError(expected("graph text", "an update of a state", update.strip()))
        graph.updates[states[state]] = _lookup(values, new)
