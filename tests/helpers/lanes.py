"""Which files of tests may run beside others: `make test` has two cores, and most of its time is waiting.

    beside  one process is all they need
    ranks   start ranks: one at a time, beside the first lane; a slower answer is no other answer
    alone   measure time, or hold an end within seconds: nothing runs beside them

A file is in one lane as a whole and says so by its words, so that a process reads what is in its own lane only.
"""

from __future__ import annotations

import re
from pathlib import Path

LANES = ("beside", "ranks", "alone")
_ALONE = re.compile(r"^pytestmark = .*\bpytest\.mark\.alone\b", re.MULTILINE)
_RANKS = re.compile(r"\brun_ranks\b|\bpytest\.mark\.distributed\b")
_JOBS = re.compile(r"^def .*\(.*\brun\b", re.MULTILINE)  # the fixture of tests/launcher, which starts `dtrain run`


def lane_of(path: Path) -> str:
    """The lane of a file of tests."""
    text = path.read_text(encoding="utf-8")
    if _ALONE.search(text):
        return "alone"
    starts_jobs = "launcher" in path.parts and _JOBS.search(text)
    return "ranks" if _RANKS.search(text) or starts_jobs else "beside"
