"""One entry of the autograd tape: which op was applied to which tensors, and what its gradient rule may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from dtrain.base.tensor_type import TensorType
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_gradient import GradHook

if TYPE_CHECKING:
    from dtrain.graph.op import GradFunction, GradReads

_ORDER = count()


class TapeNode:
    """A recorded application. Gradient rules read `inputs`, `outputs`, `attrs` and `needs_grad`.

    It never owns its output tensors, only their arrays where the rule asks for them, so that tensors and nodes form
    no cycle and memory is freed at once.
    """

    __slots__ = (
        "__weakref__", "attrs", "edges", "grad", "grad_reads", "hands_on", "hooks", "inputs", "name", "needs_grad",
        "order", "output_types", "partial_grads", "saved", "versions",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        grad: GradFunction,
        inputs: Sequence[Tensor],
        output_types: tuple[TensorType, ...],
        attrs: Mapping[str, Any],
        saved: Sequence[Tensor | None] | None,
        partial_grads: bool = False,
        grad_reads: GradReads = "all",
    ) -> None:
        self.name = name
        self.grad = grad
        self.inputs = tuple(inputs)
        # Without the property: every recorded op goes through here.
        self.versions = [0 if (writes := tensor._writes) is None else writes[0] for tensor in inputs]
        self.needs_grad = [tensor.requires_grad for tensor in inputs]
        # Where gradients go on: a later write into an input gives that tensor another history.
        self.edges = [(tensor.node, tensor.index) for tensor in inputs]
        self.grad_reads = grad_reads
        self.output_types = output_types
        self.attrs = attrs
        self.saved: list[_Saved | None] | None = None
        if saved is not None:
            self.saved = [None if tensor is None else _Saved(tensor) for tensor in saved]
        self.partial_grads = partial_grads
        self.order = next(_ORDER)
        self.hooks: dict[int, list[GradHook]] | None = None
        self.hands_on: int | None = None  # output i is input i + hands_on as it came

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs, for rules of ops with `saves_outputs`."""
        assert self.saved is not None, f"the gradient of {self.name} reads outputs that its op does not save"
        return tuple(self._restore(index) for index in range(len(self.saved)))

    def _restore(self, index: int) -> Tensor:
        assert self.saved is not None
        saved = self.saved[index]
        if saved is None:  # the rule does not read this one
            return Tensor(None, self.output_types[index])
        if saved.kept is not None:
            tensor = saved.kept.detach()
        else:
            tensor = Tensor(saved.array, self.output_types[index])
            tensor.value = saved.value
        tensor.requires_grad, tensor.node, tensor.index = True, self, index
        return tensor

    def keep_output(self, index: int, copy: Tensor) -> None:
        """Output `index` is about to be overwritten: the rule reads its elements in `copy` from now on."""
        if self.hands_on is not None and self.edges:
            source, position = self.edges[index + self.hands_on]
            if source is not None:
                source.keep_output(position, copy)
        saved = self.saved[index] if self.saved else None
        if saved is not None and not saved.is_overwritten() and saved.kept is None:
            saved.kept = copy

    def is_leaf(self, index: int) -> bool:
        """Whether output `index` is a leaf, handed on as it came."""
        if self.hands_on is None or not self.edges:
            return False
        source, position = self.edges[index + self.hands_on]
        return source is None or source.is_leaf(position)

    def hooks_of(self, index: int) -> list[GradHook]:
        """The hooks on output `index`."""
        if self.hooks is None:
            self.hooks = {}
        return self.hooks.setdefault(index, [])

    def check_versions(self) -> None:
        """Raise if an input, or an output that the rule reads, was overwritten after the op had run."""
        for position, (tensor, version) in enumerate(zip(self.inputs, self.versions)):
            if tensor.version != version and self._reads_input(position):
                raise self._overwritten("inputs", tensor.type, tensor.version - version)
        for index, saved in enumerate(self.saved or ()):
            if saved is not None and saved.is_overwritten():
                raise self._overwritten("outputs", self.output_types[index], saved.writes[0] - saved.version)

    def _reads_input(self, position: int) -> bool:
        if self.grad_reads == "others":
            return any(needed for other, needed in enumerate(self.needs_grad) if other != position)
        return self.grad_reads == "all"

    def _overwritten(self, what: str, type: TensorType, times: int) -> RuntimeError:
        return RuntimeError(
            f"backward: expected the {what} of {self.name} unchanged since forward, got {type} "
            f"overwritten {times} time(s); run backward before updating in place, or write into a copy()"
        )

    def release(self) -> None:
        """Forget inputs, outputs and what the rule holds on to, so that their memory can go."""
        self.inputs = ()
        self.edges = []
        self.saved = None
        self.grad = _released


class _Saved:
    """The elements of an output, as long as nobody writes there. The tensor itself is not kept alive."""

    __slots__ = ("array", "kept", "value", "version", "writes")

    def __init__(self, tensor: Tensor) -> None:
        self.array = tensor.array
        self.value = tensor.value
        # The count outlives the tensor: whoever writes through another handle counts there too.
        self.writes = tensor.count_writes()
        self.version = self.writes[0]
        self.kept: Tensor | None = None  # a copy from before the first write

    def is_overwritten(self) -> bool:
        return self.kept is None and self.writes[0] != self.version


def _released(node: TapeNode, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    raise AssertionError(f"the history of {node.name} is released")
