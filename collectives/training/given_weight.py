"""How much a rank's batch counts, where that is not its number of samples: `with batch_weight(number_of_tokens): …`."""

from __future__ import annotations

import math
import threading
from types import TracebackType
from typing import Any

import numpy as np

from dtrain.base.errors import ShapeError, expected
from dtrain.core.context import context
from dtrain.core.tensor import Tensor, wrap
from dtrain.functional import reshape


class _Given(threading.local):
    """The innermost weight of this thread.

    `state` holds the number that was given outside of traced functions: what they read of it is its present value.
    """

    def __init__(self) -> None:
        self.weight: float | Tensor | None = None
        self.tracer: Any = None  # the capture inside of which it was given
        self.state = wrap(np.zeros(()))

    @property
    def is_from_outside(self) -> bool:
        return self.weight is not None and self.tracer is None


_given = _Given()


class batch_weight:
    """Let forward passes of data-parallel models inside of a `with` block count by `weight` instead of by samples.

    with dist.batch_weight((targets != -100).sum()):
        loss = F.cross_entropy(model(tokens), targets, ignore_index=-100)

    The gradient is then that of Σ weight·loss / Σ weight over the ranks: the loss has to be the mean over what the
    weight counts, here the tokens that are not ignored. Gradients keep the weight of their own forward pass, also
    where backward runs outside of the block. On one process nothing changes.

    Args:
        weight: a number of at least 0, or a tensor of one element; also one that a traced function computes.
    """

    def __init__(self, weight: float | Tensor) -> None:
        self._weight: float | Tensor = _checked(weight)
        self._before: list[tuple[float | Tensor | None, Any, float]] = []

    def __enter__(self) -> None:
        self._before.append((_given.weight, _given.tracer, float(_given.state.array)))
        _give(self._weight, context.tracer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        weight, tracer, outside = self._before.pop()
        _given.weight, _given.tracer = weight, tracer
        _given.state.array[...] = outside


def _give(weight: float | Tensor, tracer: Any) -> None:
    _given.weight, _given.tracer = weight, tracer
    if tracer is None:
        _given.state.array[...] = weight


def _checked(weight: Any) -> float | Tensor:
    if isinstance(weight, Tensor):
        if weight.size != 1:
            raise ShapeError(expected("batch_weight", "a tensor of one element", str(weight.type)))
        if context.tracer is not None:
            # A tensor with numbers too: it may hold others at the next run.
            return reshape(weight.detach().to("f64"), ())
        weight = weight.item()
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(expected("batch_weight", "a finite number of at least 0", repr(weight)))
    return number


def present_weight() -> float | Tensor | None:
    """The weight of a forward pass that begins now, or None where none was given."""
    tracer = context.tracer
    if tracer is None or _given.tracer is tracer:
        return _given.weight
    tracer.guard(_given, "is_from_outside", _given.is_from_outside)
    # A state of the graph: every run reads the number that is given then.
    return _given.state * 1.0 if _given.is_from_outside else None
