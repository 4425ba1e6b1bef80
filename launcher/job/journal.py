"""The launcher's part of a job's events: written to the file of `--events`, to which the ranks write theirs."""

from __future__ import annotations

import os
import time

from dtrain.events.json_lines import JsonLines
from dtrain.events.kinds import Event, RankEnded, RankStarted, Recorded
from dtrain.events.stream import EVENTS_VARIABLE
from dtrain.launcher.job.rank_end import RankEnd
from dtrain.launcher.plan.placement import PlacedRank


class Journal:
    """Without a file nothing is written."""

    def __init__(self, path: str | None, job: str) -> None:
        """Raises `LaunchError` for a file that cannot be written."""
        self._path = os.path.abspath(path) if path else ""
        self._job = job
        self._file = JsonLines(self._path, rank=None) if self._path else None

    @property
    def variables(self) -> dict[str, str]:
        """What ranks need to write to the same file."""
        return {EVENTS_VARIABLE: self._path} if self._path else {}

    def note(self, event: Event, rank: int | None = None) -> None:
        """Keep an event of the job, or of one of its ranks. Never raises."""
        if self._file is not None:
            self._file.take(Recorded(event, time.time(), self._job, rank))

    def rank_started(self, placed: PlacedRank) -> None:
        """A script begins."""
        started = RankStarted(
            host=placed.host,
            pid=placed.pid,
            node_rank=placed.node_rank,
            local_rank=placed.local_rank,
            num_threads=placed.num_threads,
            device=placed.device,
        )
        self.note(started, placed.rank)

    def rank_ended(self, end: RankEnd) -> None:
        """It has ended, by itself or not."""
        ended = RankEnded(
            host=end.host,
            exit_code=end.exit_code,
            asked=end.asked,
            max_rss=end.max_rss,
            collective_index=end.collective_index,
        )
        self.note(ended, end.rank)
