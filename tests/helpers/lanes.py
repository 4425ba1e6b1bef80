"""Which files of tests may run beside others: `make test` has two cores, and most of its time is waiting.

    beside  one process is all they need
    ranks   start ranks, beside the first lane; a slower answer is no other answer
    alone   measure time, or hold an end within seconds: nothing runs beside them

A file is in one lane as a whole and says so by its words, so that a process reads what is in its own lanes only. A
process that is through with its lane helps with another, from the end: processes that share a lane claim its files in a
folder that all know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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


class HasPath(Protocol):
    path: Path


Item = TypeVar("Item", bound=HasPath)


def in_turn(items: Iterable[Item], lanes: Sequence[str]) -> list[Item]:
    """The items of `lanes`: those of the first as they come, then those of each other one, its last file first."""
    of_lane: dict[str, dict[Path, list[Item]]] = {lane: {} for lane in lanes}
    for item in items:
        if (files := of_lane.get(lane_of(item.path))) is not None:
            files.setdefault(item.path, []).append(item)
    own, *others = (list(files.values()) for files in of_lane.values())
    return [item for files in (own, *map(reversed, others)) for items_of_file in files for item in items_of_file]


def claimed(items: Iterable[Item], folder: Path) -> Iterator[Item]:
    """The items of files that nobody has claimed in `folder`; a file is claimed as its first item is asked for."""
    is_mine: dict[Path, bool] = {}
    for item in items:
        path = item.path
        if path not in is_mine:
            is_mine[path] = _claim(folder / str(path).replace("/", "|"))
        if is_mine[path]:
            yield item


def _claim(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
