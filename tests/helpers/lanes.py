"""Which files of tests may run beside others: `make test` has two cores, and most of its time is waiting.

    beside  one process is all they need
    ranks   start ranks, beside the first lane; a slower answer is no other answer
    alone   measure time, or hold an end within seconds: nothing runs beside them

A file is in one lane as a whole and says so by its words, so that a process reads what is in its own lane only. When
`beside` is through it helps with `ranks`, from the end: the two claim files of that lane in a folder that both know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

LANES = ("beside", "ranks", "alone")
_ALONE = re.compile(r"^pytestmark = .*\bpytest\.mark\.alone\b", re.MULTILINE)
_RANKS = re.compile(r"\brun_ranks\b|\bpytest\.mark\.distributed\b")
_JOBS = re.compile(r"^def .*\(.*\brun\b", re.MULTILINE)  # the fixture of tests/launcher, which starts `dtrain run`


@cache
def lane_of(path: Path) -> str:
    """The lane of a file of tests."""
    text = path.read_text(encoding="utf-8")
    if _ALONE.search(text):
        return "alone"
    starts_jobs = "launcher" in path.parts and _JOBS.search(text)
    return "ranks" if _RANKS.search(text) or starts_jobs else "beside"


def lanes_of_process(lane: str, is_shared: bool) -> tuple[str, ...]:
    """The lanes that a process for `lane` reads: two of them where files of `ranks` are claimed."""
    return (lane, "ranks") if is_shared and lane == "beside" else (lane,)


class HasPath(Protocol):
    path: Path


Item = TypeVar("Item", bound=HasPath)


def in_turn(items: Iterable[Item], lane: str) -> list[Item]:
    """Items of the own lane as they come, those of another behind them, the last file first."""
    own: list[Item] = []
    others: dict[Path, list[Item]] = {}
    for item in items:
        (own if lane_of(item.path) == lane else others.setdefault(item.path, [])).append(item)
    return [*own, *(item for path in reversed(others) for item in others[path])]


def claimed(items: Iterable[Item], folder: Path) -> Iterator[Item]:
    """The items of files that nobody has claimed in `folder`; one of `ranks` is claimed as its first is asked for."""
    is_mine: dict[Path, bool] = {}
    for item in items:
        path = item.path
        if path not in is_mine:
            is_mine[path] = lane_of(path) != "ranks" or _claim(folder / str(path).replace("/", "|"))
        if is_mine[path]:
            yield item


def _claim(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
