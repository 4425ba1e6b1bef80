"""What a communicator really did: calls and bytes per kind of collective, for tests, reports and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Count:
    """How often one kind of collective ran, and how many bytes this rank put into it."""

    calls: int = 0
    nbytes: int = 0


class Counters:
    """Counts per kind.

    >>> counters = Counters()
    >>> counters.add("all_reduce", 64)
    >>> counters["all_reduce"].calls, counters["broadcast"].calls, counters.calls
    (1, 0, 1)
    """

    calls_in_process = 0  # of all communicators; the launcher asks at the end whether there was any

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}

    def add(self, kind: str, nbytes: int) -> None:
        """Count one call."""
        Counters.calls_in_process += 1
        count = self._counts.setdefault(kind, Count())
        count.calls += 1
        count.nbytes += nbytes

    def __getitem__(self, kind: str) -> Count:
        return self._counts.get(kind, Count())

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    @property
    def calls(self) -> int:
        """Calls of every kind together."""
        return sum(count.calls for count in self._counts.values())

    @property
    def collective_calls(self) -> int:
        """Calls that all ranks of the group make together, so that the number is the same on each."""
        return sum(count.calls for kind, count in self._counts.items() if kind not in ("send", "recv"))

    @property
    def nbytes(self) -> int:
        """Bytes of every kind together."""
        return sum(count.nbytes for count in self._counts.values())

    def reset(self) -> None:
        """Start again from zero."""
        self._counts.clear()

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Plain data for reports: `{"all_reduce": {"calls": 3, "nbytes": 96}}`."""
        return {kind: {"calls": c.calls, "nbytes": c.nbytes} for kind, c in sorted(self._counts.items())}

    def __repr__(self) -> str:
        return f"Counters({self.as_dict()})"
