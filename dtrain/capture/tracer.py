"""Records what a Python function does to tensors as a graph.

While a tracer is active `apply` computes nothing: it hands over the op and gets symbolic tensors. Tensors that hold
numbers become states of the graph when first read, and stay themselves: a run reads their present elements and writes
their updates back. What the function changes besides tensor elements (the `grad` of parameters) is noted as an effect
and repeated after every run; what it depends on besides types (training mode, a gradient being there) as a guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dtrain.base.errors import TraceError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.base.user_source import user_source
from dtrain.capture.both_ways import both_ways
from dtrain.capture.capture import Capture, Change, GradientState, Guard, NumberGuard, TwinGuard
from dtrain.capture.leaf_gradients import LeafGradients
from dtrain.capture.origins import Origins
from dtrain.capture.reads import Reads
from dtrain.capture.strides import StrideReads, StridesGuard
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_numbers import RETURN_IT, named
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import Op
from dtrain.kernels.device_arrays import may_overlap, to_host


class Tracer:
    """One capture under way."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self.reads = Reads()
        self.origins = Origins()
        self.strides = StrideReads()
        self.state_tensors: list[Tensor] = []
        self._arguments: list[Tensor] = []
        self._given: dict[int, Tensor] = {}  # id of an argument's array -> the argument itself
        self._guards: dict[tuple[int, str], Guard] = {}
        self._numbers: dict[int, NumberGuard] = {}  # id of an array -> what was in it
        self._twin_guards: list[TwinGuard] = []
        self._states: dict[int, int] = {}  # id of an array -> position of its state
        self._current: dict[int, Value] = {}  # id of an array -> the value that it holds now
        self._known: set[Value] = set()
        self._stale: set[Value] = set()  # values whose memory, computed eagerly, would have been overwritten
        self._originals: dict[Tensor, Tensor] = {}  # a detached twin -> the tensor it was made of
        self._twins: dict[Tensor, set[Tensor]] = {}  # of symbolic tensors: all handles on the same memory
        self._overwritten: set[Tensor] = set()  # handles through whose twins somebody wrote
        self._owning: set[Tensor] = set()
        self._frozen: set[Tensor] = set()  # handles on elements as they were, in no memory that is written
        self._shown: dict[Tensor, tuple[Tensor, Value]] = {}  # a view -> its base, and the value of that it shows
        self._histories: dict[Tensor, tuple[bool, Any, int]] = {}  # of tensors with numbers, as before the capture
        self._changes: dict[tuple[int, str], Change] = {}
        self._gradients = LeafGradients()

    # Called by apply and Tensor -------------------------------------------------------------------------------------

    def record(
        self, op: Op, inputs: Sequence[Tensor], types: tuple[TensorType, ...], attrs: dict[str, Any]
    ) -> list[Tensor]:
        """Append a node and return symbolic tensors for its outputs."""
        source = self.origins.source()
        if op.is_dynamic:
            raise TraceError(
                expected(
                    f"{op.name} at {source}",
                    "an op whose output shape follows from input shapes",
                    "one whose output shape depends on values",
                    "use a mask with dtrain.functional.where, or move it out of the traced function",
                )
            )
        return self._append(Node(op, [self.value_of(tensor) for tensor in inputs], types, attrs, source=source))

    def constant(self, tensor: Tensor) -> Tensor:
        """The elements of `tensor` as a constant of the graph."""
        array = tensor.array.copy() if tensor.device.is_cpu else to_host(tensor.array)
        array.flags.writeable = False
        node = Node(CONSTANT, (), (tensor.type,), _constant_attrs(array, tensor), source=self.origins.source())
        return self._append(node)[0]

    def knows(self, tensor: Tensor) -> bool:
        """Whether it is a tensor of this trace."""
        return tensor.value in self._known

    def value_of(self, tensor: Tensor) -> Value:
        """The graph value that a tensor stands for now; a tensor with numbers becomes a state."""
        if tensor.array is not None:
            return self._current[self._state_of(tensor)]
        value = tensor.value
        if value is None or value not in self._known:
            raise TraceError(
                expected(
                    f"trace at {user_source()}",
                    "tensors of this trace, or tensors that hold numbers",
                    f"{tensor.type} left over from another traced function{named(tensor)}",
                    RETURN_IT,
                )
            )
        if tensor not in self._frozen and (
            (value in self._stale and tensor not in self._owning)
            or tensor in self._overwritten
            or self._shows_old_elements(tensor)
        ):
            raise TraceError(
                expected(
                    f"trace at {user_source()}",
                    "views and detached twins to be read before what they share memory with is overwritten",
                    f"{tensor.type}, overwritten in place since",
                    "take the view again after the update, or copy() it before",
                )
            )
        return value

    def write(self, target: Tensor, new: Tensor) -> None:
        """Let `target` hold the value of `new` from here on."""
        value = self.value_of(new)
        self.strides.note_write(target)
        if target.array is not None:
            self._expect_no_argument(target)
            key = self._state_of(target)
            self._mark_views_stale(self._current[key])
            self._current[key] = value
            return
        before = self.value_of(target)
        if target not in self._owning:
            if before.node is not None and before.node.op.view is not None:
                raise TraceError(
                    expected(
                        f"in-place update at {user_source()}",
                        "a tensor in memory of its own",
                        f"{target.type}, a view made by {before.node.op.name} in this traced function",
                        "update the tensor that it shows, or copy() it first",
                    )
                )
            self._stale.add(before)
            self._mark_views_stale(before)
        # Values alone do not tell: `y.copy_(x)` gives y the value of x, and memory of its own.
        twins = self._twins.get(target, {target})
        self._overwritten |= twins - {target}
        for twin in twins:  # one of them may be an argument
            twin.value = value
        self._owning.add(target)

    def note_view(self, view: Tensor, base: Tensor) -> None:
        """`view` shows the elements that `base` has now."""
        if base in self._frozen:
            self._frozen.add(view)
        else:
            self._shown[view] = (base, self.value_of(base))

    def _shows_old_elements(self, view: Tensor) -> bool:
        if view not in self._shown:
            return False
        base, seen = self._shown[view]
        return self.value_of(base) is not seen

    def frozen(self, tensor: Tensor) -> Tensor:
        """A handle on the present value of `tensor`, which later writes into it leave alone."""
        handle = Tensor(None, tensor.type)
        handle.value = self.value_of(tensor)
        self._frozen.add(handle)
        return handle

    def keep_history(self, tensor: Tensor) -> None:
        """Remember the history of a tensor with numbers, which gets another one for the rest of the capture."""
        if tensor.array is not None:
            self._histories.setdefault(tensor, (tensor.requires_grad, tensor.node, tensor.index))

    def note_twin(self, twin: Tensor, original: Tensor) -> None:
        """`twin` is a detached handle on the memory of `original`."""
        self.strides.note_twin(twin, original)
        if original in self._shown:
            self._shown[twin] = self._shown[original]
        if original in self._frozen:
            self._frozen.add(twin)
        if original.array is not None:
            self._originals[twin] = self._originals.get(original, original)
        else:
            twins = self._twins.setdefault(original, {original})
            twins.add(twin)
            self._twins[twin] = twins

    def note_own(self, tensor: Tensor) -> None:
        """`tensor` has memory of its own, though a view op made it."""
        self._owning.add(tensor)

    def own(self, tensor: Tensor) -> Tensor:
        """A new handle on the same value that counts as memory of its own."""
        handle = Tensor(tensor.array, tensor.type)
        handle.value = tensor.value
        if tensor.array is None:
            self._owning.add(handle)
        return handle

    def read_numbers(self, tensor: Tensor, wanted: str) -> None:
        """The function takes numbers out of a tensor from outside: they must be the same at every run."""
        tensor = self._originals.get(tensor, tensor)
        array = tensor.array
        for key, position in self._states.items():
            is_written = self._current[key] is not self.graph.states[position]
            if is_written and may_overlap(array, self.state_tensors[position].array):
                given = f"{tensor.type}, which this traced function has written into"
                advice = "use dtrain.functional.where, or move this line out of the traced function"
                raise TraceError(expected(f"{wanted} at {user_source()}", "a tensor that holds numbers", given, advice))
        if id(array) not in self._numbers:
            self._numbers[id(array)] = NumberGuard(tensor, tensor.type, array, to_host(array).tobytes())

    def read_grad(self, leaf: Tensor) -> None:
        """Note that the function looks at `leaf.grad`: whether there is one must be as now at every run."""
        if leaf not in self._gradients.found:
            self._expect_no_argument(leaf)
            self._gradients.note_read(leaf)

    def overwrite_grad(self, leaf: Tensor) -> None:
        """Note that the function sets `leaf.grad` whatever it was."""
        self._expect_no_argument(leaf)
        self._gradients.note_overwrite(leaf)

    def add_to_grad(self, leaf: Tensor, total: Tensor) -> None:
        """Let `leaf.grad` be `total`, the sum of what it was and what backward adds."""
        self._gradients.add(leaf, total)

    def guard(self, owner: Any, attribute: str, value: Any) -> None:
        """The capture is valid only while `owner.attribute` is `value`."""
        self._guards.setdefault((id(owner), attribute), Guard(owner, attribute, value))

    def read(self, owner: Any, attribute: str) -> Any:
        """`owner.attribute`: the capture is valid only while it is this, unless the function itself has set it."""
        value = getattr(owner, attribute)
        if (id(owner), attribute) not in self._changes:
            self.guard(owner, attribute, value)
        return value

    def change(self, owner: Any, attribute: str, value: Any) -> None:
        """Set `owner.attribute`, now and after every run."""
        self._changes.setdefault((id(owner), attribute), Change(owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, value)

    # Called by trace ------------------------------------------------------------------------------------------------

    def add_argument(self, tensor: Tensor, name: str) -> Tensor:
        """A symbolic tensor for an argument of the function."""
        symbolic = Tensor(None, tensor.type, requires_grad=tensor.requires_grad, name=name)
        symbolic.value = self.graph.add_argument(tensor.type, name)
        symbolic.value.function = self.graph.name
        self._known.add(symbolic.value)
        self._arguments.append(symbolic)
        self.strides.note_argument(symbolic, tensor)
        if tensor.array is not None:
            self._given[id(tensor.array)] = tensor
        return symbolic

    def finish(self, outputs: Sequence[Tensor]) -> Capture:
        """Close the graph.

        Its outputs are the results, then what arguments were overwritten with, then gradients of arguments, then the
        gradients that stay behind in leaves.
        """
        graph = self.graph
        self.restore_histories()
        graph.outputs = [self.value_of(tensor) for tensor in outputs]
        written = [i for i, tensor in enumerate(self._arguments) if tensor.value is not graph.arguments[i]]
        if written and (known := self._states.keys() & self._given.keys()):
            raise both_ways(user_source(), self._given[known.pop()])
        graph.outputs += [value for i in written if (value := self._arguments[i].value) is not None]
        argument_gradients = self._gradients.of_arguments(self._arguments)
        graph.outputs += [self.value_of(item.gradient) for item in argument_gradients if item.gradient is not None]
        gradient_states = self._gradient_states()
        effects = self._gradients.effects({item.leaf for item in gradient_states if item.is_added_to})
        graph.outputs += [self.value_of(grad) for _, grad in effects if grad is not None and grad.is_symbolic]
        self._guard_types(effects)
        for key, position in self._states.items():
            if self._current[key] is not graph.states[position]:
                graph.updates[position] = self._current[key]
        return Capture(
            graph=graph,
            states=self.state_tensors,
            reads=self.reads.settle(),
            guards=[*self._guards.values(), *self._twin_guards, *self._guards_of_elements()],
            argument_strides=self.strides.of_arguments(),
            num_results=len(outputs),
            written_arguments=written,
            argument_gradients=argument_gradients,
            effects=effects,
            gradient_states=gradient_states,
            changes=[Change(owner, name, getattr(owner, name)) for owner, name, _ in self._changes.values()],
        )

    def restore_histories(self) -> None:
        """Give tensors with numbers their history of before the capture: that of the graph ends with it."""
        for tensor, history in self._histories.items():
            tensor.requires_grad, tensor.node, tensor.index = history
        self._histories.clear()

    def restore_grads(self) -> None:
        """Put every `grad` back as it was before the capture."""
        self._gradients.restore()

    def restore_changes(self) -> None:
        """Put every attribute that the function sets back as it was before the capture."""
        for owner, attribute, before in self._changes.values():
            setattr(owner, attribute, before)

    def _guards_of_elements(self) -> list[NumberGuard | StridesGuard]:
        leaf_with = self._gradients.leaf_with
        numbers = [replace(guard, leaf=leaf_with(guard.tensor)) for guard in self._numbers.values()]
        return [*numbers, *self.strides.of_states(leaf_with)]

    def _guard_types(self, effects: Sequence[tuple[Tensor, Tensor | None]]) -> None:
        """Of tensors that are no states, whose types are looked at by every run.

        A gradient that stays behind has the type of its leaf, and what Python asks of a tensor (`len(x)`, `x.shape`,
        `x.dtype`) follows from its type: of each one within the function's reach something may have been asked.
        """
        states = set(self.state_tensors)
        leaves = [leaf for leaf, gradient in effects if gradient is not None]
        for tensor in [*leaves, *self.reads.tensors]:
            if tensor not in states and not tensor.is_symbolic:
                self.guard(tensor, "type", tensor.type)

    def _gradient_states(self) -> list[GradientState]:
        """Gradients that were there before and are read: whatever tensor a leaf holds at a run takes that place."""
        found: list[GradientState] = []
        for leaf in self._gradients.looked_at():
            before = self._gradients.found[leaf]
            position = None if before is None or before.is_symbolic else self._states.get(id(before.array))
            same = [other.leaf for other in found if position is not None and other.position == position]
            if position is not None and (same or self._has_twin(before)):
                # Two leaves, or a leaf and others, hold one gradient; only exactly this situation was captured.
                for holder in [*same, leaf]:
                    self.guard(holder, "_grad", before)
                position = None
            is_added_to = position is not None and self._compute_in_place(leaf, position)
            found.append(GradientState(leaf, before is not None, position, is_added_to))
        return found

    def _has_twin(self, gradient: Tensor | None) -> bool:
        return gradient is not None and any(guard.first.array is gradient.array for guard in self._twin_guards)

    def _compute_in_place(self, leaf: Tensor, position: int) -> bool:
        """Make what backward added an update of the gradient's state, unless the function itself has written there."""
        key = id(self.state_tensors[position].array)
        if leaf not in self._gradients.added_to or self._current[key] is not self.graph.states[position]:
            return False
        assert leaf._grad is not None
        self._current[key] = self.value_of(leaf._grad)
        return True

    def _append(self, node: Node) -> list[Tensor]:
        self.graph.nodes.append(node)
        self._known.update(node.outputs)
        outputs = [Tensor(None, value.type) for value in node.outputs]
        for tensor, value in zip(outputs, node.outputs):
            tensor.value = value
            value.function = self.graph.name
        self.origins.note(node, outputs)
        return outputs

    def _mark_views_stale(self, value: Value) -> None:
        shown = {value}
        for node in self.graph.nodes:
            if node.op.view is not None and node.inputs[0] in shown:
                shown.update(node.outputs)
        self._stale |= shown - {value}

    def _expect_no_argument(self, tensor: Tensor) -> None:
        if tensor.array is not None and id(tensor.array) in self._given:
            raise both_ways(user_source(), tensor)

    def _state_of(self, tensor: Tensor) -> int:
        # Keyed by the array: a tensor and its detached twin are one state.
        tensor = self._originals.get(tensor, tensor)
        key = id(tensor.array)
        if key not in self._states:
            self._states[key] = len(self.state_tensors)
            self.state_tensors.append(tensor)
            value = self.graph.add_state(tensor.type, tensor.name)
            self._current[key] = value
            self._known.add(value)
            return key
        first = self.state_tensors[self._states[key]]
        if first.type is not tensor.type:
            given = f"{first.type} and {tensor.type} on one array"
            raise TraceError(expected(f"trace at {user_source()}", "one type for the elements of a state", given))
        if first is not tensor and not any(guard.second is tensor for guard in self._twin_guards):
            self._twin_guards.append(TwinGuard(first, tensor))
        return key


def _constant_attrs(array: np.ndarray, tensor: Tensor) -> dict[str, Any]:
    return {"value": array} if tensor.device.is_cpu else {"value": array, "device": tensor.device}
