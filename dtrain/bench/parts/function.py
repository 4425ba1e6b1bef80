"""Functions of tensors with their gradients. Both sides call things alike: one text of the forward pass serves both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

import dtrain.functional
from dtrain.bench.parts.part import FLOAT_BYTES, Contestant, Part, Shape
from dtrain.capture.trace import TracedFunction, trace
from dtrain.core.tensor import Tensor, as_tensor


@dataclass(frozen=True)
class Function(Part):
    """Forward, and backward of random gradients of the output into the first `leaves` inputs.

    Attributes:
        forward: takes the functions of a library, then the inputs, the buffers and the labels.
        inputs: shapes of random numbers, f32.
        buffers: shapes of zeros that the forward pass updates; odd ones are ones (running variances).
        labels: how many, below how many classes; (0, 0) where there are none.
        backward_reads: whether the gradients need the inputs again, or as much of what the forward pass has made.
        is_image: whether PyTorch may have it channels-last.
        peer_forward: how its good users write it, where that differs.
        forward_flops: of products.
    """

    family: str
    size: str
    forward: Callable[..., Any]
    inputs: tuple[Shape, ...]
    output: Shape
    leaves: int
    buffers: tuple[Shape, ...] = ()
    labels: tuple[int, int] = (0, 0)
    backward_reads: bool = True
    is_image: bool = False
    peer_forward: Callable[..., Any] | None = None
    forward_flops: int = 0

    @property
    def moved(self) -> int:
        leaves, output = self._elements(self.inputs[: self.leaves]), prod(self.output)
        forward = self._elements(self.inputs) + output
        backward = output + leaves * (2 if self.backward_reads else 1) if self.leaves else 0
        return FLOAT_BYTES * (forward + backward)

    @property
    def held(self) -> int:
        gradients = self._elements((*self.inputs[: self.leaves], self.output)) if self.leaves else 0
        return FLOAT_BYTES * (self._elements((*self.inputs, self.output)) + gradients)

    @property
    def flops(self) -> int:
        return self.forward_flops * (3 if self.leaves else 1)

    @staticmethod
    def _elements(shapes: Sequence[Shape]) -> int:
        return sum(map(prod, shapes))

    def _arrays(self) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Inputs, what else goes in, and the gradient of the output."""
        rng = np.random.default_rng(0)
        inputs = [rng.standard_normal(shape, np.float32) for shape in self.inputs]
        rest: list[np.ndarray] = [np.full(shape, number % 2, np.float32) for number, shape in enumerate(self.buffers)]
        if self.labels[0]:
            rest.append(rng.integers(0, self.labels[1], self.labels[0]))
        gradient = rng.standard_normal(self.output, np.float32) if self.output else np.ones((), np.float32)
        return inputs, rest, gradient

    def ours(self) -> tuple[TracedFunction[[], None], Contestant]:
        """All is state of the trace, and the output is kept in one: calls copy nothing in and nothing out."""
        arrays, others, gradient = self._arrays()
        inputs, rest = [as_tensor(array) for array in arrays], [as_tensor(array) for array in others]
        leaves = inputs[: self.leaves]
        for leaf in leaves:
            leaf.requires_grad = True
        output, output_grad = as_tensor(np.empty_like(gradient)), as_tensor(gradient)
        forward = self.forward

        def part() -> None:
            for leaf in leaves:
                leaf.grad = None
            y = forward(dtrain.functional, *inputs, *rest)
            output.assign_(y.detach())
            if leaves:
                y.backward(output_grad)

        traced = trace(part)

        def results() -> list[np.ndarray]:
            traced()
            return [_numbers(tensor) for tensor in (output, *(leaf.grad for leaf in leaves), *rest)]

        return traced, Contestant(traced, results)

    def peers(self, torch: Any) -> Mapping[str, Contestant]:
        orders = {"PyTorch": torch.contiguous_format}
        if self.is_image:
            orders["PyTorch channels-last"] = torch.channels_last
        return {name: self._peer(torch, order) for name, order in orders.items()}

    def _peer(self, torch: Any, order: Any) -> Contestant:
        def lying(array: np.ndarray) -> Any:
            return torch.from_numpy(array).to(memory_format=order if array.ndim == 4 else torch.contiguous_format)

        arrays, others, gradient = self._arrays()
        inputs, rest, output_grad = [lying(each) for each in arrays], [lying(each) for each in others], lying(gradient)
        leaves = [each.requires_grad_() for each in inputs[: self.leaves]]
        forward = self.peer_forward or self.forward

        def call() -> Any:
            with torch.set_grad_enabled(bool(leaves)):
                y = forward(torch.nn.functional, *inputs, *rest)
            return y, torch.autograd.grad(y, leaves, output_grad) if leaves else ()

        def results() -> list[np.ndarray]:
            y, gradients = call()
            return [each.detach().contiguous().numpy() for each in (y, *gradients, *rest)]

        return Contestant(call, results)


def _numbers(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    numbers: np.ndarray = tensor.detach().numpy().copy()
    return numbers
