"""The one loop of all measurements: contestants take turns, so that a slow moment of the machine hits all alike.

A turn of a contestant is a *sample*: the seconds of one call. Ratios are formed within each turn, and their median is
what counts: drift of the machine, which medians of the contestants by themselves would keep, divides out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

Contestant = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How long one contestant takes beside another: median, least and greatest of the turns' ratios."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The seconds of one call, one entry a turn."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def least(self) -> float:
        return min(self.seconds)

    @property
    def greatest(self) -> float:
        return max(self.seconds)

    @property
    def spread(self) -> float:
        """(90th − 10th percentile) / median; 0 for a single turn."""
        if len(self.seconds) < 2:
            return 0.0
        deciles = quantiles(self.seconds, n=10)
        return (deciles[-1] - deciles[0]) / self.median

    def ratio_to(self, other: Samples) -> Ratio:
        """These seconds as multiples of another contestant's, turn by turn."""
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
        return Ratio(median(ratios), min(ratios), max(ratios))


def take_turns(contestants: Mapping[str, Contestant], turns: int, *, warm_up: int = 0) -> dict[str, Samples]:
    """Measure all contestants `turns` times, after `warm_up` turns that do not count.

    Every second turn goes through them backwards: nobody always comes after the same neighbour, with its caches. Ranks
    that measure together go through the same order.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(-warm_up, turns):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds = contestants[name]()
            if turn >= 0:
                taken[name].append(seconds)
    return {name: Samples(tuple(seconds)) for name, seconds in taken.items()}


def repeated(
    call: Callable[[], Any], *, least_seconds: float, synchronize: Callable[[], Any] | None = None
) -> Contestant:
    """A sample over as many calls as fill `least_seconds`. Runs the call a few times to find out, which warms it up.

    `synchronize` waits until what calls have started on a device is done.
    """
    count = 1
    call()
    while count < 1 << 24:
        seconds = _seconds(call, count, synchronize)
        if seconds >= least_seconds / 2:
            count = max(1, round(count * least_seconds / seconds))
            break
        count *= max(2, min(16, round(least_seconds / max(seconds, 1e-9) / 2)))
    return lambda: _seconds(call, count, synchronize) / count


def _seconds(call: Callable[[], Any], count: int, synchronize: Callable[[], Any] | None) -> float:
    if synchronize is not None:
        synchronize()
    begin = perf_counter()
    for _ in range(count):
        call()
    if synchronize is not None:
        synchronize()
    return perf_counter() - begin
