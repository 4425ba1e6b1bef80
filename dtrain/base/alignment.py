"""The alignment of all memory that is laid out by hand: arenas, buckets, shared memory and the pieces of messages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Bytes. A cache line, the widest vector register, and a multiple of every itemsize.
ALIGNMENT = 64


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to a multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def empty_bytes(nbytes: int) -> npt.NDArray[np.uint8]:
    """So many uninitialised bytes of the host, which begin at a multiple of ALIGNMENT."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]
