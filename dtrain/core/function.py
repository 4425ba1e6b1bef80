"""Operations with a hand-written gradient: subclass `Function`, write `forward` and `backward`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtrain.base.errors import expected
from dtrain.core.context import context, set_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor


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
    input, None where no gradient flows. Both are written with ordinary functions, so they can be traced.
    """

    _called = False
    saved_tensors: tuple[Tensor, ...] = ()

    def forward(self, *inputs: Tensor) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, *output_grads: Tensor | None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for `backward`, replacing those of an earlier call."""
        self.saved_tensors = tensors

    def __deepcopy__(self, memo: dict[int, Any]) -> Function:
        from copy import deepcopy

        other = type(self).__new__(type(self))
        memo[id(self)] = other
        for key, value in self.__dict__.items():
            # Saved tensors belong to this call; copying numbers that may not exist yet would be wrong.
            other.__dict__[key] = value if key == "saved_tensors" else deepcopy(value, memo)
        return other

    def __call__(self, *inputs: Tensor) -> Any:
        assert not self._called, f"{type(self).__name__} should not be called multiple times; make a new instance"
        self._called = True
        with set_grad_enabled(False):
            result = self.forward(*inputs)
        outputs = [result] if isinstance(result, Tensor) else list(result)
        if context.grad_enabled and any(tensor.requires_grad for tensor in inputs):
            # An output that is an input as it came would otherwise be its own history.
            given = {id(tensor) for tensor in inputs}
            outputs = [tensor.detach() if id(tensor) in given or tensor.node else tensor for tensor in outputs]
            self._record(inputs, outputs)
        return outputs[0] if isinstance(result, Tensor) else tuple(outputs)

    def _record(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        node = TapeNode(
            type(self).__name__, self._input_grads, inputs, tuple(tensor.type for tensor in outputs), {}, None
        )
        for index, tensor in enumerate(outputs):
            if tensor.type.dtype.is_floating:
                tensor.requires_grad, tensor.node, tensor.index = True, node, index

    def _input_grads(self, node: TapeNode, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        result = self.backward(*grads)
        values = tuple(result) if isinstance(result, tuple | list) else (result,)
        if len(values) != len(node.inputs):
            raise ValueError(
                expected(
                    f"{type(self).__name__}.backward",
                    f"one gradient (or None) for each of {len(node.inputs)} inputs",
                    f"{len(values)}",
                )
            )
        return values
