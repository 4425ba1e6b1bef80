"""Placement: as the slow definition places, offset by offset; what lives at once lies apart; looks grow as n log² n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from runtime.slow_plan import slow_place

from dtrain.runtime import placement
from dtrain.runtime.placement import Intervals, lowest_free, place


@dataclass(slots=True)
class Item:
    first: int
    last: int
    nbytes: int
    offset: int = -1


def random_items(seed: int, count: int, *, sizes: int = 40) -> list[Item]:
    """Lifetimes as a forward and backward pass has them: some across the whole, most short."""
    random = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        first = int(random.integers(count))
        length = int(random.choice([0, 2, 3, count // 4, count]))
        items.append(Item(first, min(first + length, count), 64 * int(random.integers(1, sizes + 1))))
    return items


def training_items(layers: int) -> list[Item]:
    """Activations that live until their layer's backward, beside what dies in the next node."""
    random = np.random.default_rng(layers)
    items = []
    for layer in range(layers):
        nbytes = 64 * int(2 ** random.integers(0, 12)) * int(random.integers(1, 8))
        back = 2 * layers - layer
        items.append(Item(layer, back, nbytes))
        items.append(Item(layer, layer + int(random.integers(3)), nbytes * int(random.integers(1, 4))))
        items.append(Item(back, back + int(random.integers(3)), nbytes))
    return items


@pytest.mark.parametrize("seed", range(40))
def test_every_item_lies_where_the_definition_says(seed: int) -> None:
    items = random_items(seed, 1 + 3 * seed, sizes=1 + seed)
    needed = place(items)
    assert [item.offset for item in items] == slow_place(items)
    assert needed == max(item.offset + item.nbytes for item in items)


@pytest.mark.parametrize("seed", range(20))
def test_what_lives_at_once_lies_apart(seed: int) -> None:
    items = random_items(100 + seed, 120)
    place(items)
    for number, one in enumerate(items):
        for other in items[:number]:
            if one.first <= other.last and other.first <= one.last:
                assert one.offset + one.nbytes <= other.offset or other.offset + other.nbytes <= one.offset


def test_nothing_needs_nothing() -> None:
    assert place([]) == 0


def test_a_single_position_is_enough() -> None:
    items = [Item(0, 0, 64), Item(0, 0, 128)]
    assert place(items) == 192
    assert [item.offset for item in items] == [128, 0]


def test_the_arena_of_a_deep_step_is_what_lives_at_once() -> None:
    items = training_items(200)
    alive = [sum(i.nbytes for i in items if i.first <= at <= i.last) for at in range(401)]
    assert place(items) <= 1.001 * max(alive)


def test_eight_times_the_items_take_less_than_twenty_times_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """n log² n: 8 · (log 6000 / log 750)² is 14; a look at every pair would be 64."""
    looks = 0

    def counted(method: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            nonlocal looks
            looks += 1
            return method(*arguments)

        return call

    monkeypatch.setattr(placement, "bisect_left", counted(placement.bisect_left))
    monkeypatch.setattr(placement, "bisect_right", counted(placement.bisect_right))
    place(training_items(250))
    few, looks = looks, 0
    place(training_items(2000))
    assert few > 3 * 250, "something was counted"
    assert looks < 20 * few


# Intervals ------------------------------------------------------------------------------------------------------------


def intervals_of(*parts: tuple[int, int]) -> Intervals:
    made = Intervals()
    for begin, end in parts:
        made.add(begin, end)
    return made


def test_intervals_that_touch_or_overlap_become_one() -> None:
    made = intervals_of((0, 2), (8, 10), (4, 6))
    assert (made.begins, made.ends) == ([0, 4, 8], [2, 6, 10])
    assert made.add(2, 4)
    assert (made.begins, made.ends) == ([0, 8], [6, 10])
    assert made.add(5, 20)
    assert (made.begins, made.ends) == ([0], [20])
    assert not made.add(3, 20)


@pytest.mark.parametrize("seed", range(20))
def test_intervals_are_the_set_of_their_numbers(seed: int) -> None:
    random = np.random.default_rng(seed)
    made, numbers = Intervals(), set()
    for _ in range(30):
        begin = int(random.integers(60))
        added = set(range(begin, begin + int(random.integers(1, 9))))
        assert made.add(min(added), max(added) + 1) is bool(added - numbers)
        numbers |= added
        assert numbers == {n for begin, end in zip(made.begins, made.ends) for n in range(begin, end)}
        assert all(end < begin for end, begin in zip(made.ends, made.begins[1:]))
        nbytes = int(random.integers(1, 12))
        free = next(offset for offset in range(200) if not numbers & set(range(offset, offset + nbytes)))
        assert lowest_free([made], nbytes) == free


def test_the_lowest_gap_that_is_wide_enough_in_all_sets() -> None:
    made = intervals_of((0, 2), (4, 6), (9, 12))
    assert [lowest_free([made], nbytes) for nbytes in (2, 3, 4)] == [2, 6, 12]
    assert [lowest_free([made, intervals_of((7, 8))], nbytes) for nbytes in (1, 2, 3)] == [2, 2, 12]
    assert lowest_free([intervals_of((2, 5)), intervals_of((0, 2), (5, 7)), made], 2) == 7
    assert lowest_free([], 64) == 0
