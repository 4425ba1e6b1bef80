"""Kernels computed by a number of threads, and small calls cut into parts as large ones are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dtrain.kernels.compiled_module import compiled_module


@contextmanager
def kernel_threads(count: int, least_bytes: int | None = None, to_wake: int = 0) -> Iterator[None]:
    """`count` threads, woken for calls of `to_wake` bytes, and parts of at least so many bytes, or as outside."""
    module = compiled_module()
    if module is None:
        yield
        return
    before = module.num_threads()
    bounds = module.least_bytes_of_part(), module.least_bytes_to_wake()
    module.set_num_threads(count)
    module.set_least_bytes(bounds[0] if least_bytes is None else least_bytes, to_wake)
    try:
        yield
    finally:
        module.set_num_threads(before)
        module.set_least_bytes(*bounds)
