"""The process's stream of events: `emit` hands each to every sink, the file that the environment names among them.

Safe in threads and after forks: a sink appends whole lines.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import Protocol

from dtrain.base.errors import LaunchError
from dtrain.base.rank_info import RankInfo
from dtrain.events.json_lines import JsonLines
from dtrain.events.kinds import Event, Recorded

EVENTS_VARIABLE = "DTRAIN_EVENTS"
JOB_VARIABLE = "DTRAIN_JOB_ID"


class Sink(Protocol):
    """What takes events. An exception that it raises is shown once, and it hears no more."""

    def take(self, recorded: Recorded) -> None: ...


_sinks: list[Sink] | None = None  # None: the environment has not been asked yet


def emit(event: Event) -> None:
    """Say that something happened, now, in this rank. Never raises."""
    sinks = _sinks if _sinks is not None else _start()
    if not sinks:
        return
    recorded = Recorded(event, time.time(), os.environ.get(JOB_VARIABLE, ""), _rank())
    for sink in list(sinks):
        try:
            sink.take(recorded)
        except Exception as error:
            sinks.remove(sink)
            _say(f"dtrain: {type(sink).__name__} takes no more events: {type(error).__name__}: {error}\n")


def add_sink(sink: Sink) -> None:
    """Let `sink` hear all events from now on."""
    (_sinks if _sinks is not None else _start()).append(sink)


def remove_sink(sink: Sink) -> None:
    """Let it hear no more; without effect where it did not."""
    sinks = _sinks or []
    if sink in sinks:
        sinks.remove(sink)


def _start() -> list[Sink]:
    global _sinks
    _sinks = []
    if path := os.environ.get(EVENTS_VARIABLE):
        try:
            _sinks.append(JsonLines(path, rank=_rank()))
        except LaunchError as error:
            _say(f"dtrain: no events are written: {error}\n")
    return _sinks


@cache
def _rank() -> int:
    try:
        return RankInfo.from_environment().rank
    except LaunchError:  # an environment that contradicts itself, of which others complain
        return 0


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
