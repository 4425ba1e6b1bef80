"""Scratch memory of kernels: planned by the caller, or kept by the thread for calls that nobody planned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import prod

import numpy as np
import numpy.typing as npt

from dtrain.base.alignment import aligned
from dtrain.base.errors import expected
from dtrain.kernels.array_module import Array

Shape = tuple[int, ...]
# (name of the piece, shape, dtype) -> uninitialised memory. A piece asked for again is the same memory; the first time
# of a call asks for the most.
Take = Callable[[str, Shape, npt.DTypeLike], Array]

_scratch = threading.local()


def workspace_of(memory: Array | None) -> Take:
    """Pieces of `memory`, a u8 array; or of this thread's own, where nobody planned any."""
    return scratch_array if memory is None else Workspace(memory).take


def scratch_array(name: str, shape: Shape, dtype: npt.DTypeLike) -> Array:
    """Uninitialised memory that this thread reuses at its next call with this name. It grows to the largest call."""
    key = f"{name}_{dtype}"
    size = prod(shape)
    kept: npt.NDArray[np.generic] | None = getattr(_scratch, key, None)
    if kept is None or kept.size < size:
        kept = np.empty(size, dtype)
        setattr(_scratch, key, kept)
    return kept[:size].reshape(shape)


class Workspace:
    """A block of memory, cut into named pieces as they are asked for."""

    def __init__(self, memory: Array) -> None:
        self._memory = memory
        self._used = 0
        self._pieces: dict[str, Array] = {}

    def take(self, name: str, shape: Shape, dtype: npt.DTypeLike) -> Array:
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        piece = self._pieces.get(name)
        if piece is None:
            start, self._used = self._used, self._used + aligned(nbytes)
            if self._used > self._memory.nbytes:
                given = f"{self._memory.nbytes}: plan what Candidate.workspace says"
                raise ValueError(expected("workspace", f"at least {self._used} bytes", given))
            piece = self._pieces[name] = self._memory[start : self._used]
        return piece[:nbytes].view(dtype).reshape(shape)
