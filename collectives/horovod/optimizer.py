"""What makes an optimizer one of Horovod's: gradients are reduced over the ranks before each of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from dtrain.collectives.memory.bucket import DEFAULT_BUCKET_BYTES
from dtrain.collectives.ops import collective_ops as ops
from dtrain.collectives.world.context import communicator_for
from dtrain.core.context import context as _tracing
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros_like
from dtrain.graph.inference import expect_rules
from dtrain.optim.optimizer import Optimizer


@cache
def averaging(kind: type[Optimizer], reduction: str) -> type[Optimizer]:
    """A kind of optimizer that reduces gradients over the ranks before a step."""

    class Averaging(kind):  # type: ignore[misc, valid-type]
        parameter_names: Mapping[Parameter, str] = {}
        is_synchronized = False
        skips_synchronize = False

        def synchronize(self) -> None:
            """Reduce the gradients now, to clip them before the step, say; the step does not do it again."""
            _reduce_gradients(self, reduction)
            self.is_synchronized = True

        @contextmanager
        def skip_synchronize(self) -> Iterator[None]:
            """Steps inside of the block do not reduce gradients."""
            before, self.skips_synchronize = self.skips_synchronize, True
            try:
                yield
            finally:
                self.skips_synchronize = before

        def step(self, *arguments: Any, **options: Any) -> Any:
            """Reduce the gradients, unless `synchronize` has, and update the parameters."""
            if not (self.is_synchronized or self.skips_synchronize):
                self.synchronize()
            self.is_synchronized = False
            return super().step(*arguments, **options)

    Averaging.__name__ = Averaging.__qualname__ = kind.__name__
    return Averaging


def _reduce_gradients(optimizer: Any, op: str) -> None:
    everybody = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    # Frozen ones have nothing to reduce; frozen after a backward pass, what it left.
    parameters = [parameter for parameter in everybody if parameter.requires_grad or parameter.grad is not None]
    for parameter in parameters:
        if parameter.grad is None:  # another rank may have one
            parameter.grad = zeros_like(parameter.detach())
    if _tracing.tracer is None:
        _reduce_together([parameter.grad for parameter in parameters], op)
        return
    for parameter in parameters:
        label = optimizer.parameter_names.get(parameter, "")
        parameter.grad = ops.all_reduce(parameter.grad, op=op, label=label, bucket_bytes=DEFAULT_BUCKET_BYTES)


def _reduce_together(gradients: list[Tensor], op: str) -> None:
    """In place, in one message for each dtype and device."""
    kinds: dict[Any, list[Tensor]] = {}
    for gradient in gradients:
        kinds.setdefault((gradient.dtype, gradient.device), []).append(gradient)
    for tensors in kinds.values():
        expect_rules("all_reduce_many", [tensor.type for tensor in tensors])
        arrays = [tensor.concrete("DistributedOptimizer") for tensor in tensors]
        communicator_for(arrays[0]).all_reduce_many(arrays, op=op, outs=arrays)
        for tensor in tensors:
            tensor.version += 1
