"""Records what a Python function does to tensors as a graph.

While a tracer is active `apply` computes nothing: it hands over the op and gets symbolic tensors. Tensors that hold
numbers become states of the graph when first read, and stay themselves: a run reads their present elements and writes
their updates back. What the function changes besides tensor elements (the `grad` of parameters) is noted as an effect
and repeated after every run; what it depends on besides types (training mode, a gradient being there) as a guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.base.errors import TraceError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.tensor import Tensor, user_source
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import Op


@dataclass(frozen=True, slots=True)
class Guard:
    """A fact about a Python object that the capture relied on: `owner.attribute` is `value`."""

    owner: Any
    attribute: str
    value: Any

    def holds(self) -> bool:
        present = getattr(self.owner, self.attribute)
        return present is self.value or (not isinstance(present, Tensor) and present == self.value)


class Tracer:
    """One capture under way."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self.state_tensors: list[Tensor] = []
        self.guards: list[Guard] = []
        self._states: dict[int, int] = {}  # id of an array -> position of its state
        self._current: dict[int, Value] = {}  # id of an array -> the value that it holds now
        self._known: set[Value] = set()
        self._grads_before: dict[Tensor, Tensor | None] = {}

    # Called by apply and Tensor -------------------------------------------------------------------------------------

    def record(
        self, op: Op, inputs: Sequence[Tensor], types: tuple[TensorType, ...], attrs: dict[str, Any]
    ) -> list[Tensor]:
        """Append a node and return symbolic tensors for its outputs."""
        source = user_source()
        if op.is_dynamic:
            raise TraceError(
                expected(
                    f"{op.name} at {source}",
                    "an op whose output shape follows from input shapes",
                    "one whose output shape depends on values",
                    "use a mask with dtrain.functional.where, or move it out of the traced function",
                )
            )
        node = Node(op, [self.value_of(tensor) for tensor in inputs], types, attrs, source=source)
        return self._append(node)

    def constant(self, tensor: Tensor) -> Tensor:
        """The elements of `tensor` as a constant of the graph."""
        array = tensor.numpy().copy() if tensor.device.is_cpu else tensor.numpy()
        array.flags.writeable = False
        node = Node(CONSTANT, (), (tensor.type,), _constant_attrs(array, tensor), source=user_source())
        return self._append(node)[0]

    def value_of(self, tensor: Tensor) -> Value:
        """The graph value that a tensor stands for now; a tensor with numbers becomes a state."""
        if tensor.array is not None:
            return self._current[self._state_of(tensor)]
        if tensor.value not in self._known:
            raise TraceError(
                expected(
                    f"trace at {user_source()}",
                    "tensors of this trace, or tensors that hold numbers",
                    f"{tensor.type} left over from another traced function",
                    "return it from that function",
                )
            )
        return tensor.value

    def write(self, target: Tensor, new: Tensor) -> None:
        """Let `target` hold the value of `new` from here on."""
        value = self.value_of(new)
        if target.array is None:
            target.value = value
        else:
            self._current[self._state_of(target)] = value

    def read_grad(self, leaf: Tensor) -> None:
        """Note that the function looks at `leaf.grad`: it holds only while that is the same object at the start."""
        if leaf not in self._grads_before:
            self._grads_before[leaf] = leaf._grad
            self.guard(leaf, "_grad", leaf._grad)

    def overwrite_grad(self, leaf: Tensor) -> None:
        """Note that the function sets `leaf.grad` whatever it was."""
        self._grads_before.setdefault(leaf, leaf._grad)

    def guard(self, owner: Any, attribute: str, value: Any) -> None:
        """The capture is valid only while `owner.attribute` is `value`."""
        guard = Guard(owner, attribute, value)
        if not any(other.owner is owner and other.attribute == attribute for other in self.guards):
            self.guards.append(guard)

    # Called by trace ------------------------------------------------------------------------------------------------

    def add_argument(self, tensor: Tensor, name: str) -> Tensor:
        """A symbolic tensor for an argument of the function."""
        symbolic = Tensor(None, tensor.type, requires_grad=tensor.requires_grad, name=name)
        symbolic.value = self.graph.add_argument(tensor.type, name)
        self._known.add(symbolic.value)
        return symbolic

    def finish(self, outputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """Close the graph. Returns the effects: which leaf has which `grad` after a run.

        Gradients that are left over are outputs of the graph after those of the function.
        """
        self.graph.outputs = [self.value_of(tensor) for tensor in outputs]
        effects = [(leaf, leaf._grad) for leaf in self._grads_before]
        self.graph.outputs += [self.value_of(gradient) for _, gradient in symbolic_gradients(effects)]
        for key, position in self._states.items():
            if self._current[key] is not self.graph.states[position]:
                self.graph.updates[position] = self._current[key]
        return effects

    def restore_grads(self) -> None:
        """Put every `grad` back as it was before the capture."""
        for leaf, gradient in self._grads_before.items():
            leaf._grad = gradient

    def _append(self, node: Node) -> list[Tensor]:
        self.graph.nodes.append(node)
        self._known.update(node.outputs)
        outputs = [Tensor(None, value.type) for value in node.outputs]
        for tensor, value in zip(outputs, node.outputs):
            tensor.value = value
        return outputs

    def _state_of(self, tensor: Tensor) -> int:
        # Keyed by the array: a tensor and its detached twin are one state.
        key = id(tensor.array)
        if key not in self._states:
            self._states[key] = len(self.state_tensors)
            self.state_tensors.append(tensor)
            value = self.graph.add_state(tensor.type, tensor.name)
            self._current[key] = value
            self._known.add(value)
        return key


def symbolic_gradients(effects: Sequence[tuple[Tensor, Tensor | None]]) -> list[tuple[Tensor, Tensor]]:
    """The effects whose gradient the graph computes."""
    return [(leaf, gradient) for leaf, gradient in effects if gradient is not None and gradient.is_symbolic]


def _constant_attrs(array: np.ndarray, tensor: Tensor) -> dict[str, Any]:
    attrs: dict[str, Any] = {"value": array}
    if not tensor.device.is_cpu:
        attrs["device"] = tensor.device
    return attrs
