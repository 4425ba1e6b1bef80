"""Parameters inside of a data-parallel model: read as they are, their gradients averaged on the way back.

    p ──replicate──▶ p' ──▶ the model's forward ──▶ outputs ──exit──▶ loss, and whatever else reads p
    Σ over ranks  ◀── gradient of p', in units of the rank's own loss

Both boundaries exist on the tape only: forward they cost nothing. What does not pass through the model is not
touched: the gradient of a penalty on p comes to p itself, and adds to the averaged part. The exit ties the outputs to
the parameters, so that a rank whose loss depends on none of them takes part all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtrain.autograd.function import Function
from dtrain.capture.structure import flatten, unflatten
from dtrain.collectives.training.forward_pass import ForwardPass, entered
from dtrain.core.context import context
from dtrain.core.tensor import Parameter, Tensor, wrap
from dtrain.core.tensor_factory import zeros_like

# From the gradients of a pass on this rank, None where it has none, to those that the parameters get.
Average = Callable[[Sequence[Tensor | None]], Sequence[Tensor | None]]


class _Replicate(Function):
    """(parameters…, token) as they are; the gradients of the parameters averaged."""

    _hands_on = 0

    def __init__(self, average: Average) -> None:
        self._average = average

    def forward(self, *inputs: Tensor) -> Any:
        return inputs

    def backward(self, *gradients: Tensor | None) -> Any:
        return (*self._average(gradients[:-1]), None)


class _Exit(Function):
    """The outputs as they are; any gradient of one reaches the token, and with it the parameters.

    What the rank's own loss says of the outputs of a pass that does not count is silenced, unless they went on into
    another pass: what comes back through that one's sync-BN is of the losses of others, and it has silenced its own.
    """

    _hands_on = 1
    is_passed_on = False

    def __init__(self, forward_pass: ForwardPass) -> None:
        self._pass = forward_pass

    def pass_on(self, later: ForwardPass) -> None:
        """Note that outputs go into another pass."""
        self.is_passed_on = True
        if later is not self._pass:
            self._pass.went_into.append(later)

    def forward(self, *inputs: Tensor) -> Any:
        return inputs[1:]

    def backward(self, *gradients: Tensor | None) -> Any:
        token = zeros_like(self._token_type)
        if self.is_passed_on:
            return (token, *gradients)
        return (token, *[None if gradient is None else self._pass.silence(gradient) for gradient in gradients])

    def __call__(self, *inputs: Tensor) -> Any:
        self._token_type = inputs[0].type
        return super().__call__(*inputs)


class Replicas:
    """The parameters of one forward pass, as its tape knows them. There may be none, in a model that is frozen."""

    def __init__(self, parameters: Sequence[Parameter], average: Average, forward_pass: ForwardPass) -> None:
        replicas: Sequence[Tensor] = ()
        self._token = wrap(np.zeros((), np.float32))
        if parameters:
            *replicas, self._token = _Replicate(average)(*parameters, self._token.requires_grad_())
        self._replicas: dict[Tensor, Tensor] = dict(zip(parameters, replicas))
        self._pass = forward_pass

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, the tape records the replicas wherever one of the parameters is read."""
        before = context.stand_ins
        context.stand_ins = {**before, **self._replicas}
        try:
            with entered(self._pass):
                yield
        finally:
            context.stand_ins = before

    def leave(self, output: Any) -> Any:
        """The output of the pass for those outside: tied to the parameters."""
        tensors, structure = flatten(output, tensors=_differentiable)
        if not tensors:
            return output
        outputs = [self._replicas.get(tensor, tensor) for tensor in tensors]
        return unflatten(structure, _Exit(self._pass)(self._token, *outputs))


def note_passed_on(inputs: Any, forward_pass: ForwardPass) -> None:
    """Note the passes whose outputs go into this one as its inputs, or as what was computed of them."""
    tensors, _ = flatten(inputs, tensors=_differentiable)
    waiting = [tensor.node for tensor in tensors]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        rule = getattr(node.grad, "__self__", None)
        if isinstance(rule, _Exit):
            rule.pass_on(forward_pass)  # and whatever lies before it is known already
        else:
            waiting += [source for source, _ in node.edges]


def _differentiable(item: Any) -> Tensor | None:
    return item if isinstance(item, Tensor) and item.requires_grad else None
