"""Operations written PyTorch's way: static `forward(ctx, …)` and `backward(ctx, …)`, called by `apply`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtrain.autograd.function import Function
from dtrain.base.errors import expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.context import context
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import zeros_like


class StaticCall(Function):
    """One call of such an operation: what its functions know as `ctx`. They may set attributes on it.

    Attributes:
        needs_input_grad: for each argument of `apply`, whether its gradient is wanted.
    """

    def __init__(self, operation: type[Function], arguments: Sequence[Any]) -> None:
        self._operation = operation
        self._arguments: list[Any] | None = list(arguments)
        self._num_arguments = len(arguments)
        self._places = [place for place, value in enumerate(arguments) if isinstance(value, Tensor)]
        self._materializes = True
        self._output_types: tuple[TensorType, ...] = ()
        self.needs_input_grad = tuple(isinstance(value, Tensor) and value.requires_grad for value in arguments)

    @property
    def _name(self) -> str:
        return self._operation.__name__

    def forward(self, *tensors: Tensor) -> Any:
        if context.tracer is not None:
            context.tracer.reads.note_class(self._operation, ("forward", "backward", "setup_context"))
        arguments, self._arguments = self._arguments or [], None  # what is kept is for save_for_backward to say
        for place, tensor in zip(self._places, tensors):
            arguments[place] = tensor
        setup: Callable[..., None] | None = getattr(self._operation, "setup_context", None)
        if setup is None:
            result = self._operation.forward(self, *arguments)
        else:
            result = self._operation.forward(*arguments)
            setup(self, tuple(arguments), result)
        return result

    def backward(self, *gradients: Tensor | None) -> Any:
        given = gradients
        if self._materializes:
            given = tuple(zeros_like(y) if g is None else g for g, y in zip(gradients, self._output_types))
        result = self._operation.backward(self, *given)
        values = tuple(result) if isinstance(result, tuple | list) else (result,)
        surplus = values[self._num_arguments :]
        if len(values) < self._num_arguments or any(value is not None for value in surplus):
            wanted = f"one gradient (or None) for each of {self._num_arguments} arguments of apply"
            raise ValueError(expected(f"{self._name}.backward", wanted, f"{len(values)}"))
        return tuple(values[place] for place in self._places)

    def _record(self, inputs: Sequence[Tensor], results: Sequence[Tensor]) -> list[Tensor]:
        outputs = super()._record(inputs, results)
        self._output_types = tuple(output.type for output in outputs)
        return outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros, rather than None, for outputs that nothing depends on."""
        self._materializes = value

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """No gradient flows through these outputs."""
        self._without_gradient = frozenset(id(output) for output in outputs)

    def mark_dirty(self, *inputs: Tensor) -> None:
        advice = "return a new tensor, and let the caller write it into the other with copy_"
        raise NotImplementedError(expected(f"{self._name}.forward", "inputs left as they are", "mark_dirty", advice))
