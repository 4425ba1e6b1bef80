"""What a capture yields: the graph, what it relies on, and what a run changes besides the elements of its states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from dtrain.base.tensor_type import TensorType
from dtrain.capture.read_facts import ReadFacts
from dtrain.core.strides import Strides, strides_of
from dtrain.core.tensor import Tensor
from dtrain.graph.graph import Graph
from dtrain.kernels.device_arrays import to_host


class Fact(Protocol):
    """Something that must hold for a capture to be valid."""

    def holds(self) -> bool: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Guard:
    """A fact about a Python object that the capture relied on: `owner.attribute` is `value`."""

    owner: Any
    attribute: str
    value: Any

    def holds(self) -> bool:
        present = getattr(self.owner, self.attribute)
        return present is self.value or (not isinstance(present, Tensor) and present == self.value)

    def __str__(self) -> str:
        return f"{type(self.owner).__name__}.{self.attribute}"


@dataclass(frozen=True, slots=True)
class TwinGuard:
    """Two tensors were handles on one array, and so one state. A type goes with its array (`Tensor.data`)."""

    first: Tensor
    second: Tensor

    def holds(self) -> bool:
        return self.first.array is self.second.array

    def __str__(self) -> str:
        return f"which tensors share the memory of {self.first.name or self.first.type}"


@dataclass(frozen=True, slots=True)
class NumberGuard:
    """Numbers of a tensor went into Python: `first`, its array then (kept, so that its id stays its own), held them.

    If it was the gradient of `leaf`, it is the gradient that the leaf has now which must hold them.
    """

    tensor: Tensor
    type: TensorType
    first: Any
    bits: bytes
    leaf: Tensor | None = None

    def holds(self) -> bool:
        tensor = self.tensor if self.leaf is None else self.leaf._grad
        if tensor is None or tensor.type is not self.type:  # of another type the same bits are other numbers
            return False
        array = tensor.array
        if array.dtype != self.first.dtype or array.shape != self.first.shape:
            return False
        return to_host(array).tobytes() == self.bits

    def __str__(self) -> str:
        return f"the numbers taken out of {self.tensor.name or self.tensor.type}"


class Change(NamedTuple):
    """An attribute of a Python object that the function sets, and its value."""

    owner: Any
    attribute: str
    value: Any


@dataclass(frozen=True, slots=True)
class ArgumentGradient:
    """What backward leaves in the `grad` of argument `position`: added to what is there, or put in its place."""

    position: int
    gradient: Tensor | None
    adds: bool


@dataclass(frozen=True, slots=True)
class GradientState:
    """A leaf whose `grad` the function looked at, and the state behind that gradient if it was read.

    Where backward has only added to that gradient, the sum is computed in its place (`is_added_to`).
    """

    leaf: Tensor
    is_present: bool
    position: int | None
    is_added_to: bool


@dataclass(slots=True, kw_only=True)
class Capture:
    """One captured call, ready to be optimized and run.

    The graph's outputs are `num_results` results, the elements of `written_arguments`, the argument gradients, and the
    gradients among `effects` that the graph computes.
    """

    graph: Graph
    states: list[Tensor]
    reads: ReadFacts
    guards: Sequence[Fact]
    argument_strides: Sequence[tuple[int, Strides]]
    num_results: int
    written_arguments: list[int]
    argument_gradients: list[ArgumentGradient]
    effects: list[tuple[Tensor, Tensor | None]]
    gradient_states: list[GradientState]
    changes: list[Change]
    structure: Any = None
    # What tensors must be like besides the type: whether gradients flow into them, and through which hooks.
    requires_grad: list[bool] = field(init=False)
    hooks: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.requires_grad = [tensor.requires_grad for tensor in self.states]
        self.hooks = [tensor.hooks for tensor in self.states]

    def is_valid(self, arguments: Sequence[Tensor]) -> bool:
        """Whether everything that the capture relied on is as it was; `arguments` are those of the call."""
        for position, strides in self.argument_strides:
            if not _lies_so(arguments[position], strides):
                return False
        for item in self.gradient_states:
            if (item.leaf._grad is not None) is not item.is_present:
                return False
        # Loops, since this is asked before every traced call.
        for fact in self.guards:
            if not fact.holds():
                return False
        for tensor, requires_grad, hooks in zip(self.states, self.requires_grad, self.hooks):
            if tensor.requires_grad is not requires_grad or tensor.hooks != hooks:
                return False
        return self.reads.hold()

    def changed(self, arguments: Sequence[Tensor]) -> str:
        """Something that is not as it was, for people; nothing if all is."""
        for position, strides in self.argument_strides:
            if not _lies_so(arguments[position], strides):
                return f"how the elements of argument {position} lie in memory"
        for item in self.gradient_states:
            if (item.leaf._grad is not None) is not item.is_present:
                return f"whether {item.leaf.name or 'a tensor'} has a gradient"
        for fact in self.guards:
            if not fact.holds():
                return str(fact)
        for tensor, requires_grad, hooks in zip(self.states, self.requires_grad, self.hooks):
            if tensor.requires_grad is not requires_grad or tensor.hooks != hooks:
                return f"requires_grad or a hook of {tensor.name or tensor.type}"
        return self.reads.changed()


def _lies_so(tensor: Tensor, strides: Strides) -> bool:
    return tensor.array is None or strides_of(tensor.array) == strides  # without numbers: the run says so
