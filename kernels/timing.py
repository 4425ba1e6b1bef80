"""Time several calls beside each other: interleaved, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

_SAMPLE_SECONDS = 0.002


def interleaved_seconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """`repeats` samples of each call, in seconds a call; each sample is as many calls as the clock needs."""
    loops = [_loops(call) for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, count, times in zip(calls, loops, samples):
            times.append(_seconds(call, count) / count)
    return samples


def _seconds(call: Callable[[], object], count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        call()
    return perf_counter() - start


def _loops(call: Callable[[], object]) -> int:
    """How many calls make a sample long enough for the clock; also the warm-up."""
    call()
    return max(1, int(_SAMPLE_SECONDS / max(_seconds(call, 1), 1e-7)))
