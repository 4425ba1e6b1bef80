"""Scratch memory of kernels: a block that the caller hands over, planned by a graph's memory plan or lent by a pool.

Each thread has one pooled block, as large as the largest call it made. A call inside another (a signal handler that
computes) finds it lent out and gets another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from dtrain.base.alignment import aligned, empty_bytes
from dtrain.base.device import CPU, Device
from dtrain.base.errors import expected
from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.problem import Problem

Shape = tuple[int, ...]
# (name of the piece, shape, dtype) -> uninitialised memory. A piece asked for again is the same memory; the first time
# of a call asks for the most.
Take = Callable[[str, Shape, npt.DTypeLike], Array]

_NOTHING = np.empty(0, np.uint8)


class Workspace:
    """A block of memory, cut into named pieces as they are asked for; None is one of no bytes."""

    def __init__(self, memory: Array | None) -> None:
        self._memory = _NOTHING if memory is None else memory
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


class _Pool(threading.local):
    def __init__(self) -> None:
        self.memory = _NOTHING


_pool = _Pool()


def with_workspace(function: Callable[..., Any], nbytes: int, device: Device = CPU) -> Callable[..., Any]:
    """The function of a kernel, for calls that nobody planned: each gets a workspace of `nbytes` bytes on `device`."""
    if nbytes == 0:
        return function
    if device.is_cuda:
        return _with_cuda_workspace(function, nbytes, device)

    def call(*inputs: Array, **options: Any) -> Any:
        memory, _pool.memory = _pool.memory, _NOTHING
        if memory.nbytes < nbytes:
            memory = empty_bytes(nbytes)
        try:
            return function(*inputs, workspace=memory[:nbytes], **options)
        finally:
            _pool.memory = memory

    return call


def bind_alone(candidate: Candidate, problem: Problem, inputs: Sequence[Array], out: Any) -> Callable[[], Any]:
    """The call of a kernel on these arrays of the host, with a workspace of its own: for measuring kernels."""
    nbytes = candidate.workspace_nbytes(problem)
    return candidate.bind(inputs, out, dict(problem.attrs), empty_bytes(nbytes) if nbytes else None)


def _with_cuda_workspace(function: Callable[..., Any], nbytes: int, device: Device) -> Callable[..., Any]:
    def call(*inputs: Array, **options: Any) -> Any:
        import cupy

        with cupy.cuda.Device(device.index):
            memory = cupy.empty(nbytes, np.uint8)  # from CuPy's own pool, which waits for the stream
        return function(*inputs, workspace=memory, **options)

    return call
