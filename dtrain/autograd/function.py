"""Operations with a hand-written gradient: subclass `Function`, write `forward` and `backward`."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dtrain.base import names
from dtrain.base.errors import expected
from dtrain.core.context import context, set_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.op import GradReads


class Function:
    """One call of an operation with its own gradient.

    class Sigmoid(Function):
        def forward(self, x):
            y = 1 / (1 + F.exp(-x))
            self.save_for_backward(y)
            return y
        def backward(self, grad):
            (y,) = self.saved_tensors
            return grad * y * (1 - y)

    y = Sigmoid()(x)

    An instance is called once. `backward` gets one gradient per output (None for an unused one) and returns one per
    input, None where no gradient flows and for inputs that are no tensors. Both are written with ordinary functions, so
    they can be traced. What was saved must not be overwritten before backward, which raises RuntimeError. Classes
    written for PyTorch, with static methods that take a `ctx`, are called by `apply`.
    """

    _called = False
    _is_static = False  # whether the class is written PyTorch's way
    # What belongs to a call is shared by copies of it: copying numbers that may not exist yet would be wrong.
    _shared = ("_saved", "_saved_outputs", "_node", "_versions")
    # Of one whose output i is input i + this as it came: the rule reads neither, so that both may be overwritten.
    _hands_on: int | None = None
    _saved: tuple[Tensor, ...] = ()
    _versions: tuple[int, ...] = ()  # of the saved tensors when forward had ended
    _is_tensor: Sequence[bool] = ()  # which inputs are tensors
    # Outputs, by id, through which no gradient flows.
    _without_gradient: frozenset[int] = frozenset()
    # Which of the saved tensors are outputs: position among the saved -> index of the output.
    _saved_outputs: Mapping[int, int] = MappingProxyType({})
    _node: weakref.ref[TapeNode] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls):
            cls._is_static = isinstance(vars(cls)["forward"], staticmethod)

    def forward(self, *inputs: Tensor) -> Any:
        raise NotImplementedError(f"{self._name} does not define forward")

    def backward(self, *output_grads: Tensor | None) -> Any:
        raise NotImplementedError(f"{self._name} does not define backward")

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for `backward`, replacing those of an earlier call."""
        self._saved = tensors

    @classmethod
    def apply(cls, *arguments: Any) -> Any:
        """Call an operation with static `forward(ctx, …)` and `backward(ctx, …)`, as PyTorch has them.

        Arguments may be anything; `backward` gives a gradient, or None, for each. Its gradients of outputs that nothing
        depends on are zeros, until `ctx.set_materialize_grads(False)`. There may be a `setup_context(ctx, inputs,
        output)`, and then a forward without `ctx`.

        Raises:
            NotImplementedError: `ctx.mark_dirty`.
        """
        if not cls._is_static:
            return cls()(*arguments)
        from dtrain.autograd.static_function import StaticCall

        call = StaticCall(cls, arguments)
        return call(*(argument for argument in arguments if isinstance(argument, Tensor)))

    @property
    def _name(self) -> str:
        """What errors and graphs call it: the class."""
        return type(self).__name__

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What `save_for_backward` kept. Outputs among them have their history, for second derivatives."""
        node = self._node() if self._node is not None else None
        if node is None:
            return self._saved
        for tensor, version in zip(self._saved, self._versions):
            if tensor.version != version:
                raise RuntimeError(
                    f"backward: expected what {self._name} saved unchanged since forward, got {tensor.type} "
                    f"overwritten {tensor.version - version} time(s); run backward before updating in place, or write "
                    "into a copy()"
                )
        return tuple(
            _with_history(tensor, node, self._saved_outputs[i]) if i in self._saved_outputs else tensor
            for i, tensor in enumerate(self._saved)
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Function:
        from copy import deepcopy

        other = type(self).__new__(type(self))
        memo[id(self)] = other
        for key, value in self.__dict__.items():
            other.__dict__[key] = value if key in self._shared else deepcopy(value, memo)
        return other

    def __call__(self, *inputs: Any) -> Any:
        assert not self._called, f"{self._name} should not be called multiple times; make a new instance"
        self._called = True
        if self._is_static:
            advice = f"write {self._name}.apply(x), or forward(self, x) without @staticmethod"
            raise TypeError(expected(self._name, "apply, for a static forward", "a call of an instance", advice))
        if context.tracer is not None:
            context.tracer.reads.note_methods(self, ("forward", "backward"))
        with set_grad_enabled(False):
            result = self.forward(*inputs)
        outputs = [result] if isinstance(result, Tensor) else list(result)
        self._is_tensor = [isinstance(item, Tensor) for item in inputs]
        tensors = [item for item in inputs if isinstance(item, Tensor)]
        if context.grad_enabled and any(tensor.requires_grad for tensor in tensors):
            outputs = self._record(tensors, outputs)
        return outputs[0] if isinstance(result, Tensor) else tuple(outputs)

    def _record(self, inputs: Sequence[Tensor], results: Sequence[Tensor]) -> list[Tensor]:
        # The tape is tied to twins of the results: one may be an input as it came, and a saved result that
        # carried the history would keep itself alive through it.
        inputs = [context.stand_ins.get(tensor, tensor) for tensor in inputs]
        outputs = [tensor.detach() for tensor in results]
        types = tuple(tensor.type for tensor in outputs)
        reads: GradReads = "all" if self._hands_on is None else "none"
        node = TapeNode(self._name, self._input_grads, inputs, types, {}, None, True, reads)
        node.hands_on = self._hands_on
        if context.tracer is not None:
            context.tracer.origins.note_entry(node, results)
        for index, tensor in enumerate(outputs):
            if tensor.type.dtype.is_floating and id(results[index]) not in self._without_gradient:
                tensor.requires_grad, tensor.node, tensor.index = True, node, index
        positions = {id(tensor): index for index, tensor in enumerate(results)}
        given = {id(tensor) for tensor in inputs}
        self._saved_outputs = {
            i: positions[id(tensor)]
            for i, tensor in enumerate(self._saved)
            if id(tensor) in positions and id(tensor) not in given
        }
        self._versions = tuple(tensor.version for tensor in self._saved)
        self._node = weakref.ref(node)
        return outputs

    def _input_grads(self, node: TapeNode, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        result = self.backward(*grads)
        values = tuple(result) if isinstance(result, tuple | list) else (result,)
        if len(values) != len(self._is_tensor):
            raise ValueError(
                expected(
                    f"{self._name}.backward",
                    f"one gradient (or None) for each of {len(self._is_tensor)} inputs",
                    f"{len(values)}",
                )
            )
        return tuple(value for value, is_tensor in zip(values, self._is_tensor) if is_tensor)


def _with_history(tensor: Tensor, node: TapeNode, index: int) -> Tensor:
    if not tensor.type.dtype.is_floating:
        return tensor
    twin = tensor.detach()
    twin.requires_grad, twin.node, twin.index = True, node, index
    return twin


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return names.lookup("autograd.function", name, globals())
