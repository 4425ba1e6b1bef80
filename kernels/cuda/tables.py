"""Small tables of integers in GPU memory: the addresses and chunks of kernels that work on many arrays.

A traced step launches with the same arrays again and again, so the tables are kept; a table is its numbers, and stays
right whatever becomes of the arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from dtrain.kernels.array_module import Array


def device_table(numbers: tuple[int, ...]) -> Array:
    """These numbers as s64 on the current GPU."""
    import cupy

    return _uploaded(cupy.cuda.Device().id, numbers)


def built_table(build: Callable[[tuple[int, ...]], tuple[int, ...]], key: tuple[int, ...]) -> Array:
    """`device_table(build(key))`, where the key is much shorter than the table."""
    import cupy

    return _built(cupy.cuda.Device().id, build, key)


@lru_cache(maxsize=512)
def _built(device: int, build: Callable[[tuple[int, ...]], tuple[int, ...]], key: tuple[int, ...]) -> Array:
    return _uploaded.__wrapped__(device, build(key))


@lru_cache(maxsize=512)
def _uploaded(device: int, numbers: tuple[int, ...]) -> Array:
    import cupy

    table = cupy.asarray(np.array(numbers, np.int64))
    # Other streams will read it too.
    cupy.cuda.get_current_stream().synchronize()
    return table


def forget() -> None:
    """Drop all tables."""
    _uploaded.cache_clear()
    _built.cache_clear()
