"""Which gradients travel in which message.

`divide` is the classic rule: fill a bucket in the given order, and close it before it would pass `bucket_bytes`. It is
a pure function of sizes, so every rank comes to the same buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_BUCKET_BYTES = 25 * 2**20


@dataclass(frozen=True, slots=True)
class Bucket:
    """One message: the labels of its members in order, their dtype and payload bytes."""

    labels: tuple[str, ...]
    dtype: str
    nbytes: int

    def as_dict(self) -> dict[str, object]:
        """Plain data for reports."""
        return {"members": len(self.labels), "dtype": self.dtype, "nbytes": self.nbytes, "labels": list(self.labels)}


def divide(sizes: Sequence[int], bucket_bytes: int) -> list[list[int]]:
    """Positions of consecutive sizes, cut so that each part sums to at most `bucket_bytes`; a larger size stays alone.

    >>> divide([100, 300, 400, 300], 1000)
    [[0, 1, 2], [3]]
    """
    parts: list[list[int]] = []
    filled = 0
    for position, size in enumerate(sizes):
        if not parts or filled + size > bucket_bytes:
            parts.append([])
            filled = 0
        parts[-1].append(position)
        filled += size
    return parts
