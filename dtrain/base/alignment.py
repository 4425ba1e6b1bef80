"""The alignment of all memory that is laid out by hand: arenas, buckets, shared memory and the pieces of messages."""

from __future__ import annotations

# Bytes. A cache line, the widest vector register, and a multiple of every itemsize.
ALIGNMENT = 64


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to a multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
