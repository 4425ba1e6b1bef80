"""Which arrays of a call share memory, so that no result is written over what has not been read yet.

A message moves in chunks, and how large they are must not show: an input that overlaps an output is copied first,
unless it is the very memory where its own copy belongs. Two outputs that overlap have no right result.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dtrain.base.errors import expected
from dtrain.collectives.packed import address_of
from dtrain.collectives.rank_order import Array


def apart(sources: list[Array], outs: list[Array], same: Sequence[Array | None]) -> list[Array]:
    """`sources`, with a copy of each that overlaps an output.

    Args:
        sources: flat and contiguous.
        outs: flat and contiguous, none of which overlaps another.
        same: for each source the memory that it may be, exactly: an output, or the part of one that becomes its copy.
    """
    spans = sorted(_span(out) for out in outs if out.size)
    return [
        source.copy() if _overlaps(_span(source), None if own is None else _span(own), spans) else source
        for source, own in zip(sources, same, strict=True)
    ]


def check_outs_apart(kind: str, outs: Sequence[Array]) -> None:
    """Raise `ValueError` if two outputs share memory, which leaves no right result for either."""
    contiguous = [out for out in outs if out.flags.c_contiguous]
    spans = sorted(_span(out) for out in contiguous if out.size)
    overlap = any(begin < end for (_, end), (begin, _) in pairwise(spans))
    if len(contiguous) < len(outs):
        overlap = overlap or any(
            isinstance(out, np.ndarray) and np.shares_memory(out, other)
            for number, out in enumerate(outs)
            for other in outs[:number]
        )
    if overlap:
        raise ValueError(
            expected(kind, "outs that share no memory", "two that overlap", "give every result memory of its own")
        )


def _span(array: Array) -> tuple[int, int]:
    begin = address_of(array)
    return begin, begin + array.nbytes


def _overlaps(source: tuple[int, int], same: tuple[int, int] | None, spans: list[tuple[int, int]]) -> bool:
    """Whether `source` meets one of `spans`, which are sorted and apart, other than by being `same`."""
    begin, end = source
    if begin == end or source == same:
        return False
    near = bisect_left(spans, (end,))  # all before it begin before `end`, and the last of them ends last
    return near > 0 and spans[near - 1][1] > begin
