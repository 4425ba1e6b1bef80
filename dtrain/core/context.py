"""What the current thread is doing: whether gradients are recorded, and into which trace calls go.

State is per thread, so that ranks can be threads and a data loader's threads never see a trace.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtrain.core.autograd import BackwardListener
    from dtrain.core.tracer import Tracer


class Context(threading.local):
    """One per thread. `backward_listeners` holds weak references, oldest first."""

    def __init__(self) -> None:
        self.grad_enabled = True
        self.tracer: Tracer | None = None
        self.backward_listeners: list[Any] = []

    def listeners(self) -> list[BackwardListener]:
        """The listeners that are still alive."""
        alive = [(reference, reference()) for reference in self.backward_listeners]
        self.backward_listeners = [reference for reference, listener in alive if listener is not None]
        return [listener for _, listener in alive if listener is not None]


context = Context()


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing on the tape inside. Usable as a decorator too."""
    with set_grad_enabled(False):
        yield


@contextmanager
def enable_grad() -> Iterator[None]:
    """Record on the tape inside, also within `no_grad`."""
    with set_grad_enabled(True):
        yield


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Record on the tape inside if `enabled`."""
    before = context.grad_enabled
    context.grad_enabled = enabled
    try:
        yield
    finally:
        context.grad_enabled = before


def is_grad_enabled() -> bool:
    """Whether applying an op to tensors that require gradients records it."""
    return context.grad_enabled


def is_tracing() -> bool:
    """Whether calls are being captured in a graph rather than computed."""
    return context.tracer is not None
