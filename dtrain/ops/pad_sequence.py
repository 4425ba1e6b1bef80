"""Sequences of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor
from dtrain.ops.joining import pad, stack


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences [length, …] filled up to the longest and stacked: [length, N, …], or [N, length, …].

    Args:
        padding_side: "right", behind each sequence, or "left".

    >>> pad_sequence([tensor([1, 2]), tensor([3])], batch_first=True).tolist()
    [[1, 2], [3, 0]]
    """
    sequences = list(sequences)
    if not sequences or any(x.ndim < 1 or x.shape[1:] != sequences[0].shape[1:] for x in sequences):
        given = ", ".join(str(x.type) for x in sequences[:3]) or "none"
        raise ShapeError(expected("pad_sequence", "sequences [length, …] that differ in length only", given))
    if padding_side not in ("left", "right"):
        raise ValueError(expected("pad_sequence", "padding_side left or right", repr(padding_side)))
    longest = max(x.shape[0] for x in sequences)
    padded = []
    for x in sequences:
        room = longest - x.shape[0]
        sides = (0, room) if padding_side == "right" else (room, 0)
        padded.append(pad(x, [*(0 for _ in range(2 * (x.ndim - 1))), *sides], value=padding_value) if room else x)
    return stack(padded, 0 if batch_first else 1)
