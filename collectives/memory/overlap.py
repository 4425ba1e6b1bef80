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
from dtrain.collectives.memory.packed import address_of
from dtrain.collectives.programs.rank_order import Array

Span = tuple[int, int]  # addresses of the first byte and of the one behind the last


def span_of(array: Array) -> Span:
    """Where the bytes of a contiguous array lie."""
    begin = address_of(array)
    return begin, begin + array.nbytes


def may_overlap(array: Array, out: Array) -> bool:
    """Whether the two need a closer look; quick for the common case of arrays of the host that do not."""
    return type(out) is not np.ndarray or bool(np.may_share_memory(array, out))


def overlaps_itself(array: Array) -> bool:
    """Whether elements of an array share memory with one another, as those of a broadcast view do."""
    if array.size < 2 or array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    reach = array.itemsize
    for stride, count in sorted((abs(stride), count) for stride, count in zip(array.strides, array.shape) if count > 1):
        if stride < reach:
            break
        reach += stride * (count - 1)
    else:
        return False
    places = np.zeros((), np.int64)
    for stride, count in zip(array.strides, array.shape):
        places = np.add.outer(places, np.arange(count, dtype=np.int64) * stride)
    return bool((np.diff(np.sort(places, axis=None)) < array.itemsize).any())


def output_spans(kind: str, outs: Sequence[Array]) -> list[Span | None]:
    """Where outputs lie; None for one that is not contiguous, which is written in one go when all has been read.

    Raises:
        ValueError: two outputs share memory, which leaves no right result for either.
    """
    spans = [span_of(out) if out.flags.c_contiguous else None for out in outs]
    if len(outs) > 1 and _overlap(outs, spans):
        raise ValueError(
            expected(kind, "outs that share no memory", "two that overlap", "give every result memory of its own")
        )
    return spans


def apart(sources: list[Array], outs: Sequence[Span | None], own: Sequence[Span | None]) -> list[Array]:
    """`sources`, with a copy of each that overlaps an output.

    Args:
        sources: flat and contiguous.
        outs: as from `output_spans`.
        own: for each source the memory that it may be, exactly: an output, or the part of one that becomes its copy.
    """
    spans = sorted(span for span in outs if span is not None and span[0] < span[1])
    return [
        source.copy() if _meets(span_of(source), mine, spans) else source
        for source, mine in zip(sources, own, strict=True)
    ]


def _overlap(outs: Sequence[Array], spans: Sequence[Span | None]) -> bool:
    known = sorted(span for span in spans if span is not None and span[0] < span[1])
    if any(begin < end for (_, end), (begin, _) in pairwise(known)):
        return True
    return len(known) < len(outs) and any(
        isinstance(out, np.ndarray) and np.shares_memory(out, other)
        for number, out in enumerate(outs)
        if spans[number] is None
        for other in (*outs[:number], *outs[number + 1 :])
    )


def _meets(source: Span, own: Span | None, spans: list[Span]) -> bool:
    """Whether `source` meets one of `spans`, which are sorted and apart, other than by being `own`."""
    begin, end = source
    if begin == end or source == own:
        return False
    near = bisect_left(spans, (end,))  # all before it begin before `end`, and the last of them ends last
    return near > 0 and spans[near - 1][1] > begin
