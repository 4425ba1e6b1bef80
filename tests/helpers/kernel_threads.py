"""Kernels computed by a number of threads, and small calls cut into parts as large ones are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dtrain.kernels.compiled_module import compiled_module


@contextmanager
def kernel_threads(count: int, least_bytes: int | None = None) -> Iterator[None]:
    """`count` threads, woken for any call; a part of a call moves at least so many bytes, or as many as outside."""
    module = compiled_module()
    if module is None:
        yield
        return
    before = module.num_threads(), module.least_bytes()
    module.set_num_threads(count)
    module.set_least_bytes(before[1][0] if least_bytes is None else least_bytes, 0)
    try:
        yield
    finally:
        module.set_num_threads(before[0])
        module.set_least_bytes(*before[1])
