"""The graph in SSA form: values, nodes that make them, and the state that a run reads and writes.

A graph has ordered inputs (arguments, then states), nodes in execution order, and outputs. A state is memory that
outlives a run (a parameter, a running mean, an optimizer moment): the graph reads it through an input and may name
the value that replaces it. Passes rewrite graphs through `dtrain.graph.editor`, which notes every change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dtrain.base.tensor_type import TensorType
from dtrain.graph.inference import infer_types
from dtrain.graph.op import Op


class Value:
    """One tensor of a graph: made by `node` as output `index`, or an input where `node` is None.

    `function` is the name of the traced function that it was captured in, for messages.
    """

    __slots__ = ("function", "index", "name", "node", "type")

    def __init__(self, type: TensorType, *, name: str = "", node: Node | None = None, index: int = 0) -> None:
        self.type = type
        self.name = name
        self.node = node
        self.index = index
        self.function = ""

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {self.type}"


class Node:
    """One application of an op. For people: `source` is the line `file.py:12`, `scope` the module `layer1.conv`."""

    __slots__ = ("attrs", "inputs", "op", "outputs", "scope", "source")

    def __init__(
        self,
        op: Op,
        inputs: Iterable[Value],
        output_types: Iterable[TensorType],
        attrs: Mapping[str, Any] | None = None,
        *,
        source: str = "",
        scope: str = "",
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.attrs = dict(attrs or {})
        self.source = source
        self.scope = scope
        self.outputs = tuple(Value(type, node=self, index=i) for i, type in enumerate(output_types))

    def __repr__(self) -> str:
        return f"<{self.op.name} of {len(self.inputs)} inputs>"


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One edit of a graph: what was done with `node`, the values to read `instead` of its outputs, and why.

    `proven` says that what the node checks is known to hold for all values, or was checked.
    """

    kind: Literal["insert", "replace", "erase"]
    node: Node
    reason: str
    instead: tuple[Value, ...] = ()
    proven: bool = False


class Graph:
    """Inputs, nodes in execution order, outputs, and which inputs are states.

    `num_states` of the inputs, the last ones, are states. `updates` maps the position of a state among the states to
    the value it holds after a run. `changes` are the edits of the pass that is under way.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.num_states = 0
        self.nodes: list[Node] = []
        self.outputs: list[Value] = []
        self.updates: dict[int, Value] = {}
        self.changes: list[Change] = []

    @property
    def arguments(self) -> list[Value]:
        return self.inputs[: len(self.inputs) - self.num_states]

    @property
    def states(self) -> list[Value]:
        return self.inputs[len(self.inputs) - self.num_states :]

    def add_argument(self, type: TensorType, name: str = "") -> Value:
        value = Value(type, name=name)
        self.inputs.insert(len(self.inputs) - self.num_states, value)
        return value

    def add_state(self, type: TensorType, name: str = "") -> Value:
        value = Value(type, name=name)
        self.inputs.append(value)
        self.num_states += 1
        return value

    def add_node(
        self, op: Op, inputs: Iterable[Value], attrs: Mapping[str, Any] | None = None, *, source: str = ""
    ) -> Node:
        """Append a node; its output types come from the op's own inference."""
        inputs = tuple(inputs)
        types = infer_types(op, [value.type for value in inputs], attrs or {})
        node = Node(op, inputs, types, attrs, source=source)
        self.nodes.append(node)
        return node

    def results(self) -> list[Value]:
        """Everything that must be computed: the outputs, then the state updates in order of the states."""
        return self.outputs + [self.updates[i] for i in sorted(self.updates)]

    def __str__(self) -> str:
        from dtrain.graph.printer import print_graph

        return print_graph(self)
