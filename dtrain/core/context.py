"""What the current thread is doing: whether gradients are recorded, and into which trace calls go.

State is per thread, so that ranks can be threads and a data loader's threads never see a trace.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from dtrain.graph.graph import Graph
from dtrain.passes.pipeline import DEFAULT_PIPELINE

if TYPE_CHECKING:
    from dtrain.core.listeners import PassListener, TraceListener
    from dtrain.core.tensor import Tensor

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
GraphPasses = Callable[[Graph], Graph]


class Context(threading.local):
    """One per thread.

    `stand_ins` maps leaves to tensors on the same elements that the tape records in their place (data parallelism: the
    leaf's gradient then passes through the stand-in's history). It is replaced, never changed.
    `backward_pass` is the `backward()` under way, None where gradients are asked for with `grad()`.
    `pipeline` optimizes the graphs that are captured.
    """

    def __init__(self) -> None:
        self.grad_enabled = True
        self.pipeline: GraphPasses = DEFAULT_PIPELINE
        self.tracer: TraceListener | None = None
        self.stand_ins: Mapping[Tensor, Tensor] = {}
        self.backward_pass: PassListener | None = None


context = Context()


class set_grad_enabled:
    """Record on the tape inside if `enabled`. As a decorator too: every call of the function is then inside."""

    __slots__ = ("_before", "enabled")

    # A class and no generator: every backward pass and optimizer step enters several.
    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(context.grad_enabled)
        context.grad_enabled = self.enabled

    def __exit__(self, *error: object) -> None:
        context.grad_enabled = self._before.pop()

    def __call__(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with set_grad_enabled(self.enabled):
                return function(*args, **kwargs)

        return inside


def no_grad() -> set_grad_enabled:
    """Record nothing on the tape inside. Usable as a decorator too."""
    return set_grad_enabled(False)


def enable_grad() -> set_grad_enabled:
    """Record on the tape inside, also within `no_grad`."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Whether applying an op to tensors that require gradients records it."""
    return context.grad_enabled


def is_tracing() -> bool:
    """Whether calls are being captured in a graph rather than computed."""
    return context.tracer is not None
