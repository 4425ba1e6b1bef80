"""The memory that a compiled graph writes, and that nothing else of a call may lie in.

A graph knows its states and arguments as independent: arguments are copied in before a run, and updates go home in an
order of the plan's. Where one shows memory that another is written to, that would give other numbers than eager
execution, so it is refused. Written memory is kept as ranges of addresses, so that the usual argument costs one lookup.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from dtrain.base.errors import TraceError, expected
from dtrain.graph.graph import Value
from dtrain.kernels.array_module import Array
from dtrain.kernels.device_arrays import extent, is_writable, owner_of

Named = tuple[Array, Value]


class WrittenMemory:
    """The arrays that a run writes. Their bytes must be disjoint; `expect_separate` tells them from any other array."""

    def __init__(self, written: Sequence[Named]) -> None:
        for array, value in written:
            if not is_writable(array):
                raise _read_only(value)
        self._written = sorted([(*extent(array), value) for array, value in written if array.size], key=_start)
        for first, second in zip(self._written, self._written[1:]):
            if first[1] > second[0]:
                raise _shared(first[2], second[2])
        self._starts = [start for start, _, _ in self._written]
        owners = [owner_of(array) for array, _ in written]
        self._owners = {id(owner) for owner in owners}
        # Memory that no NumPy array owns (another library's, a GPU's) may be shown through many owners.
        self._is_foreign = not all(map(_owns_memory, owners))

    def expect_separate(self, array: Array, value: Value) -> None:
        """Raise TraceError if `array`, which `value` stands for, lies in written memory."""
        owner = owner_of(array)
        if id(owner) not in self._owners and not self._is_foreign and _owns_memory(owner):
            return
        start, end = extent(array)
        # Ranges are disjoint and sorted: the last one that begins before the end is the only one to look at.
        position = bisect_right(self._starts, end - 1) - 1
        if start < end and position >= 0 and self._written[position][1] > start:
            raise _shared(self._written[position][2], value)


def expect_separate_states(states: Sequence[Named], updated: Sequence[int]) -> WrittenMemory:
    """The memory of the states at the positions `updated`. Raises TraceError where another state lies in it."""
    positions = set(updated)
    memory = WrittenMemory([states[position] for position in updated])
    for position, (array, value) in enumerate(states):
        if position not in positions:
            memory.expect_separate(array, value)
    return memory


def expect_separate_arguments(arguments: Sequence[Named], written: Sequence[int], states: Sequence[Named]) -> None:
    """Raise TraceError where an argument at a position in `written` shares memory with another, or with a state."""
    memory = expect_separate_states(arguments, written)
    for array, value in states:
        memory.expect_separate(array, value)


def _owns_memory(owner: Array) -> bool:
    return isinstance(owner, np.ndarray) and owner.flags.owndata


def _start(item: tuple[int, int, Value]) -> int:
    return item[0]


def _read_only(value: Value) -> RuntimeError:
    return RuntimeError(
        expected(
            "traced function",
            "tensors that it updates to lie in writable memory",
            f"{value.name or 'a tensor'} {value.type}, whose elements are repeated or belong to a read-only array",
            "copy() it first",
        )
    )


def _shared(written: Value, other: Value) -> TraceError:
    return TraceError(
        expected(
            "traced function",
            "tensors that it updates to share memory with no other that it reads",
            " and ".join(f"{value.name or 'a tensor'} {value.type}" for value in (written, other)),
            "copy() one of them, or take the view inside the function",
        )
    )
