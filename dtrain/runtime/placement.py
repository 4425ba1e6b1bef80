"""Where the storages of an arena lie: greedy by size at the lowest free offset.

Largest first, every storage takes the lowest offset that is free during its lifetime (Pisarchyk & Lee, "Efficient
Memory Management for Deep Neural Net Inference", 2020), which on training steps of ResNets and MobileNet comes within
0.5% of the bytes that live at once. What is taken during a stretch of time is asked of a segment tree over the
positions of nodes. A lifetime is a union of O(log n) stretches; each of them knows

    throughout   addresses that some storage takes during all of it
    anywhere     addresses that are taken at some time within it

as sorted disjoint intervals. Taken during a lifetime is what is taken anywhere in one of its stretches, or throughout a
stretch around it. Storages lie dense, so that these unions are a few long intervals, however many storages they hold:
with a bisection in each of O(log n) unions a storage, n of them take n log² n, where looking at every pair takes n².
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Protocol


class Placed(Protocol):
    """What lives from the node at position `first` to that at `last`, and is given an `offset`."""

    first: int
    last: int
    nbytes: int
    offset: int


class Intervals:
    """A set of addresses, as sorted intervals [begin, end) that neither overlap nor touch."""

    __slots__ = ("begins", "ends")

    def __init__(self) -> None:
        self.begins: list[int] = []
        self.ends: list[int] = []

    def add(self, begin: int, end: int) -> bool:
        """Unite with [begin, end); whether that adds anything."""
        begins, ends = self.begins, self.ends
        low = bisect_left(ends, begin)
        if low == len(ends) or begins[low] > end:
            begins.insert(low, begin)
            ends.insert(low, end)
            return True
        if begins[low] <= begin and end <= ends[low]:
            return False
        last = bisect_right(begins, end, low) - 1
        begins[low], ends[low] = min(begin, begins[low]), max(end, ends[last])
        del begins[low + 1 : last + 1], ends[low + 1 : last + 1]
        return True


class Occupancy:
    """Which addresses are taken at which positions, 0 to `num_positions` − 1."""

    def __init__(self, num_positions: int) -> None:
        # Stretch 1 is all time, 2i and 2i + 1 are the halves of stretch i, and the last ones single positions.
        self._num_leaves = 1 << max(0, num_positions - 1).bit_length()
        self._throughout: defaultdict[int, Intervals] = defaultdict(Intervals)
        self._anywhere: defaultdict[int, Intervals] = defaultdict(Intervals)

    def take_lowest(self, first: int, last: int, nbytes: int) -> int:
        """Take `nbytes` bytes at the lowest offset that is free from `first` to `last`; returns it."""
        inner = self._stretches_of(first, last)
        taken = [self._anywhere[stretch] for stretch in inner if stretch in self._anywhere]
        taken += [self._throughout[stretch] for stretch in _around(inner) if stretch in self._throughout]
        offset = lowest_free(taken, nbytes)
        for stretch in inner:
            self._take(stretch, offset, offset + nbytes)
        return offset

    def _take(self, stretch: int, begin: int, end: int) -> None:
        if stretch < self._num_leaves:  # nothing lies within a single position
            self._throughout[stretch].add(begin, end)
        # What is taken somewhere within a stretch is so within those around it: the first that knows it ends the walk.
        while stretch and self._anywhere[stretch].add(begin, end):
            stretch >>= 1

    def _stretches_of(self, first: int, last: int) -> list[int]:
        """The fewest stretches that make up the positions from `first` to `last`, the longer ones first."""
        found = []
        low, high = first + self._num_leaves, last + self._num_leaves + 1
        while low < high:
            if low & 1:
                found.append(low)
                low += 1
            if high & 1:
                high -= 1
                found.append(high)
            low >>= 1
            high >>= 1
        return found[::-1]


def _around(stretches: Iterable[int]) -> set[int]:
    """The longer stretches that hold one of these."""
    around: set[int] = set()
    for stretch in stretches:
        stretch >>= 1
        while stretch and stretch not in around:
            around.add(stretch)
            stretch >>= 1
    return around


def lowest_free(taken: Sequence[Intervals], nbytes: int) -> int:
    """The lowest offset at which `nbytes` bytes are outside of all these sets."""
    offset = agreeing = 0  # as many sets in a row have room at `offset`
    for intervals in cycle(taken):
        begins, ends = intervals.begins, intervals.ends
        index, count = bisect_right(ends, offset), len(ends)
        if index < count and begins[index] - offset < nbytes:
            agreeing = 0
            while index < count and begins[index] - offset < nbytes:
                offset = ends[index]
                index += 1
        agreeing += 1
        if agreeing == len(taken):
            break
    return offset


def place(items: Iterable[Placed]) -> int:
    """Give every item an offset so that none overlaps another that lives at the same time; returns the bytes needed."""
    ordered = sorted(items, key=lambda item: (-item.nbytes, item.first))
    occupancy = Occupancy(1 + max((item.last for item in ordered), default=0))
    for item in ordered:
        item.offset = occupancy.take_lowest(item.first, item.last, item.nbytes)
    return max((item.offset + item.nbytes for item in ordered), default=0)
