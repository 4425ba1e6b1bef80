"""A file of events, a line of JSON each, written by the launcher and any number of ranks at once.

    {"event":"step","time":1700000000.25,"job":"9f…","rank":0,"step":7,"seconds":0.01,"values":{"loss":0.5}}

Each event is one write at the end of the file, into no buffer of ours: lines of several processes of a host never mix,
and what was emitted is in the file whatever happens next. Network file systems promise less between hosts; there let
the name hold `{host}` or `{rank}`, which each process fills in.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtrain.base.errors import LaunchError, expected
from dtrain.control.encoding import MessageError, from_fields, shown, to_fields
from dtrain.events.kinds import KIND_OF, KINDS, Recorded

FRAME = ("event", "time", "job", "rank")
WHERE = "event"


class JsonLines:
    """A sink. `take` never raises: a file that can no longer be written is said once on stderr, and given up."""

    def __init__(self, path: str, *, rank: int | None) -> None:
        """Open for appending, as more than one process does. Raises `LaunchError` where that cannot be."""
        self.path = filled_in(path, rank)
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            given = f"{self.path!r}: {what}"
            raise LaunchError(
                expected("--events", "a file that can be written", given, "name another, or make its folder")
            ) from None

    def take(self, recorded: Recorded) -> None:
        """Append one event."""
        if self._descriptor < 0:
            return
        try:
            line = as_line(recorded)
            while line:
                line = line[os.write(self._descriptor, line) :]
        except Exception as error:  # training goes on, whatever the disk or a value's own methods do
            self.close()
            _say(f"dtrain: cannot write events to {self.path} any more: {error}; the job goes on without them\n")

    def close(self) -> None:
        """Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def filled_in(path: str, rank: int | None) -> str:
    """The file's name in this process."""
    name = "launcher" if rank is None else str(rank)
    return path.replace("{rank}", name).replace("{host}", platform.node())


def as_line(recorded: Recorded) -> bytes:
    """One event as a line of ASCII."""
    fields = {
        "event": KIND_OF[type(recorded.event)],
        "time": recorded.time,
        "job": recorded.job,
        "rank": recorded.rank,
    } | to_fields(recorded.event)
    return json.dumps(_plain(fields), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def from_line(line: str | bytes) -> Recorded:
    """The event of a line. Raises `ValueError` that names what is wrong with it."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise MessageError(expected(WHERE, "a line of JSON", f"{shown(line)} ({error})")) from None
    if not isinstance(fields, dict) or any(name not in fields for name in FRAME):
        raise MessageError(expected(WHERE, f"the fields {', '.join(FRAME)}", shown(fields)))
    kind, time, job, rank = (fields.pop(name) for name in FRAME)
    if kind not in KINDS:
        raise MessageError(expected(WHERE, f"one of the kinds {', '.join(KINDS)}", shown(kind)))
    return Recorded(from_fields(KINDS[kind], fields, f"{WHERE} {kind}"), time, job, rank)


def read(path: str | Path) -> Iterator[Recorded]:
    """The events of a file, in the order of its lines. Raises `ValueError` for a line that is none."""
    with open(path, encoding="utf-8") as stream:
        yield from map(from_line, stream)


def _plain(value: Any) -> Any:
    """As JSON has it: numbers that are none become texts (`nan`, `inf`), scalars of arrays and tensors numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (int, str)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
