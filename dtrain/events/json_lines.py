"""A file of events, a line of JSON each, written by the launcher and any number of ranks at once.

    {"event":"step","time":1700000000.25,"job":"9f…","rank":0,"step":7,"seconds":0.01,"values":{"loss":0.5}}

Each event is one write at the end of the file, into no buffer of ours: lines of several processes of a host never mix,
and what was emitted is in the file whatever happens next. Network file systems promise less between hosts; there let
the name hold `{host}` or `{rank}`, which each process fills in.

No process ever waits for whoever reads: a pipe or a terminal may stand for the file (`/dev/stderr`), but a pipe that
nobody reads is refused, and one whose reader does not keep up is given up.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtrain.base.errors import LaunchError, expected
from dtrain.base.exception_text import exception_message, exception_name
from dtrain.control.encoding import MessageError, from_fields, shown, to_fields
from dtrain.events.kinds import KIND_OF, KINDS, Recorded

FRAME = ("event", "time", "job", "rank")
WHERE = "event"
# Not to wait where a pipe has no reader, or a terminal or a pipe takes nothing more; files have no use for it.
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


class JsonLines:
    """A sink. `take` never raises: a file that can no longer be written is said once on stderr, and given up.

    A value that no line can hold is left out, and an event that is none at all; the first is said on stderr.
    """

    def __init__(self, path: str, *, rank: int | None) -> None:
        """Open for appending, as more than one process does. Raises `LaunchError` where that cannot be at once."""
        self.path = filled_in(path, rank)
        self._has_complained = False
        try:
            self._descriptor = os.open(self.path, FLAGS, 0o666)
        except (OSError, ValueError) as error:
            given = f"{self.path!r}: {_why(self.path, error)}"
            raise LaunchError(
                expected("--events", "a file that can be written", given, "name another, or make its folder")
            ) from None

    def take(self, recorded: Recorded) -> None:
        """Append one event."""
        if self._descriptor < 0:
            return
        faults: list[str] = []
        try:
            line = as_line(recorded, faults)
        except Exception as error:  # training goes on, whatever an event's own methods do
            line = b""
            faults.append(expected(type(recorded.event).__name__, "fields that JSON has", _shown_error(error)))
        if faults and not self._has_complained:
            self._has_complained = True
            _say(f"dtrain: cannot write all events to {self.path}: {faults[0]}; the job goes on without them\n")
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except Exception as error:  # … and whatever the disk does
            self.close()
            why = "its reader does not keep up" if isinstance(error, BlockingIOError) else error
            _say(f"dtrain: cannot write events to {self.path} any more: {why}; the job goes on without them\n")

    def close(self) -> None:
        """Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def filled_in(path: str, rank: int | None) -> str:
    """The file's name in this process."""
    name = "launcher" if rank is None else str(rank)
    return path.replace("{rank}", name).replace("{host}", platform.node())


def as_line(recorded: Recorded, faults: list[str] | None = None) -> bytes:
    """One event as a line of ASCII, without the values that are no numbers and no texts: `faults` hears of those."""
    fields: dict[str, Any] = {
        "event": KIND_OF[type(recorded.event)],
        "time": recorded.time,
        "job": recorded.job,
        "rank": recorded.rank,
    } | to_fields(recorded.event)
    if "values" in fields:
        fields["values"] = _values(fields["values"], [] if faults is None else faults)
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


def _values(values: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        try:
            plain = _plain(value)
            fault = shown(plain) if isinstance(plain, (dict, list)) else ""
        except Exception as error:
            fault = _shown_error(error)
        if fault:
            faults.append(expected(f"values, {name}", "a number, a text, True, False or None", fault))
        else:
            kept[str(name)] = plain
    return kept


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


def _why(path: str, error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.ENXIO:
        return "a pipe that nobody reads" if Path(path).is_fifo() else "a socket or a device of nobody"
    return error.strerror or str(error)


def _shown_error(error: Exception) -> str:
    return f"{exception_name(error)}: {exception_message(error)}"


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
