"""Copies and writes that happen where an array lies, whichever GPU is the current one.

CuPy allocates and launches on the current GPU of the thread: `array.copy()` of an array on GPU 1 lands on GPU 0, and
`array[...] = x` is refused, unless GPU 1 is made current first. Whoever copies outside of an op does it through here.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from dtrain.kernels.array_module import Array
from dtrain.kernels.quiet import quiet

_NOWHERE: AbstractContextManager[Any] = nullcontext()


def beside(array: Array) -> AbstractContextManager[Any]:
    """A context in which the GPU that holds `array` is current; nothing changes for an array of the host."""
    if isinstance(array, np.ndarray | np.generic):
        return _NOWHERE
    device: AbstractContextManager[Any] = array.device
    return device


def copy_of(array: Array) -> Array:
    """A C-contiguous copy in memory of its own, on the array's device."""
    if isinstance(array, np.ndarray):  # the short way, for every result of a traced call
        return array.copy()
    with beside(array):
        return array.copy(order="C")


def contiguous(array: Array) -> Array:
    """The array itself where it is C-contiguous, else a copy on its device."""
    return array if array.flags.c_contiguous else copy_of(array)


def diagonal_of(array: Array, *, offset: int, axis1: int, axis2: int) -> Array:
    """A diagonal of two axes, along a new last axis: a view that can be written where the array can."""
    viewed = array.diagonal(offset, axis1, axis2)
    if isinstance(viewed, np.ndarray):  # NumPy's is read-only; on a GPU it is not
        viewed.flags.writeable = array.flags.writeable
    return viewed


def extent(array: Array) -> tuple[int, int]:
    """The address of the first byte of an array, and that behind its last one."""
    start: int = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr
    if array.flags.c_contiguous:
        return start, start + array.nbytes
    if array.size == 0:
        return start, start
    steps = [(length - 1) * stride for length, stride in zip(array.shape, array.strides)]
    return start + sum(min(step, 0) for step in steps), start + sum(max(step, 0) for step in steps) + array.itemsize


def owner_of(array: Array) -> Array:
    """The array whose memory a view shows; the array itself if it is none."""
    while array.base is not None and hasattr(array.base, "base"):
        array = array.base
    return array


def is_writable(array: Array) -> bool:
    """NumPy says so; CuPy does not: repeated elements have strides of 0."""
    if isinstance(array, np.ndarray):
        return array.flags.writeable
    return not (array.size and any(step == 0 and size > 1 for step, size in zip(array.strides, array.shape)))


def overwrite(target: Array, source: Array) -> None:
    """target[...] = source, on the device of `target`; both lie there. Where they overlap, `source` is read first.

    NumPy alone gives other numbers where the strides of overlapping arrays differ, and CuPy promises none.
    """
    if isinstance(target, np.ndarray):
        is_shared = source is not target and np.may_share_memory(target, source)
        target[...] = source.copy() if is_shared else source
        return
    with beside(target):
        target[...] = copy_of(source) if source is not target and may_overlap(target, source) else source


def may_overlap(target: Array, source: Array) -> bool:
    """Whether the ranges of addresses of two arrays have a byte in common."""
    if not hasattr(source, "data"):
        return False  # a plain number
    start, end = extent(target)
    first, last = extent(source)
    return first < end and start < last


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """A NumPy array as it is, a GPU's as a copy; raises what kernels have found wrong with index values meanwhile."""
    if isinstance(array, np.ndarray):
        return array
    host: np.ndarray[Any, Any] = np.asarray(array.get())
    flags = sys.modules.get("dtrain.kernels.cuda.range_flag")
    if flags is not None:
        flags.raise_found()
    return host


@quiet
def cast_of(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in another dtype, on its device; the array itself where nothing changes."""
    with beside(array):
        return array.astype(dtype, copy=False)
