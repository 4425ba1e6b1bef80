"""Gradients of which every rank has its own part as yet: whoever needs them whole has them reduced first.

Data parallelism leaves such gradients under `no_sync`. It lies above optimizers and clipping, which call it from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from dtrain.core.context import context
from dtrain.core.tensor import Parameter, Tensor


class Reducer(Protocol):
    """Who reduces the gradients of some parameters over ranks."""

    def reduce_waiting(self, parameters: Sequence[Parameter]) -> None:
        """Reduce what the ranks have in `grad`, if it is to be: of all parameters of the model, those of these too."""


def reduce_waiting(parameters: Iterable[Tensor]) -> None:
    """Give the parameters their whole gradients. All ranks call it, as they call what needs them."""
    known = [parameter for parameter in parameters if isinstance(parameter, Parameter)]
    if context.tracer is not None and known:
        context.tracer.guard(known[0], "reducers", known[0].reducers)  # a model is wrapped as a whole
    reducers: dict[Reducer, None] = {}
    for parameter in known:
        for reducer in parameter.reducers:
            reducers[reducer] = None
    for reducer in reducers:
        reducer.reduce_waiting(known)
