"""The memory of a communicator in which buckets of compiled graphs lie, so that collectives need not copy them.

Getting such memory is collective, compiling a graph is not: a rank may compile a new batch shape alone. So a pool grows
only where all ranks are together anyway (`data_parallel` makes room for the gradients of a model), and a graph borrows
what is free. What does not fit lies in ordinary memory, with the same results and a copy in and out. A piece returns to
the pool when the last array on it is gone: with the graph, or with a gradient that outlives it.
"""

from __future__ import annotations

import threading
import warnings
import weakref

import numpy as np

from dtrain.base.alignment import aligned
from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.programs.rank_order import Array


class _Loan:
    """One piece of a pool; alive as long as any array on it."""

    def __init__(self, memory: Array) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__


class BucketPool:
    """Free pieces of memory that all ranks of a communicator see."""

    def __init__(self) -> None:
        self._segments: list[Array] = []
        self._free: list[list[tuple[int, int]]] = []  # of each segment: begin and end, in order
        self._lock = threading.RLock()  # a loan may end at any moment of its own thread

    @property
    def free_nbytes(self) -> int:
        """Bytes that nobody has borrowed."""
        with self._lock:
            return sum(end - begin for pieces in self._free for begin, end in pieces)

    def grow(self, communicator: Communicator, nbytes: int) -> None:
        """Add `nbytes` (collective, the same on every rank). Without such memory the pool stays as it is."""
        if nbytes == 0:
            return
        try:
            segment = communicator.allocate(aligned(nbytes))
        except CollectiveError as error:
            if communicator.is_broken:
                raise
            warnings.warn(f"gradients will be copied in and out of shared memory: {error}", stacklevel=3)
            return
        with self._lock:
            self._segments.append(segment)
            self._free.append([(0, segment.size)])

    def lend(self, nbytes: int) -> Array | None:
        """A piece of `nbytes` for as long as the array or a view of it lives; None where none is free."""
        nbytes = aligned(nbytes)
        with self._lock:
            fitting = [
                (end - begin, number, begin)
                for number, pieces in enumerate(self._free)
                for begin, end in pieces
                if end - begin >= nbytes
            ]
            if not fitting or nbytes == 0:
                return None
            size, number, begin = min(fitting)
            pieces = self._free[number]
            at = pieces.index((begin, begin + size))
            pieces[at : at + 1] = [(begin + nbytes, begin + size)] if size > nbytes else []
        loan = _Loan(self._segments[number][begin : begin + nbytes])
        weakref.finalize(loan, self._take_back, number, begin, begin + nbytes).atexit = False
        return np.asarray(loan)

    def _take_back(self, number: int, begin: int, end: int) -> None:
        with self._lock:
            merged: list[tuple[int, int]] = []
            for first, last in sorted([*self._free[number], (begin, end)]):
                if merged and merged[-1][1] == first:
                    merged[-1] = (merged[-1][0], last)
                else:
                    merged.append((first, last))
            self._free[number] = merged


_pools: weakref.WeakKeyDictionary[Communicator, BucketPool] = weakref.WeakKeyDictionary()
_pools_lock = threading.Lock()


def pool_of(communicator: Communicator) -> BucketPool:
    """The pool of a communicator; empty before it grows."""
    with _pools_lock:
        return _pools.setdefault(communicator, BucketPool())
