"""Many ranks' output on one terminal: whole lines, each with its rank, progress bars kept.

Bytes of a stream become text across chunk edges (a UTF-8 character cut in two is put together again) and are cut at
`\\n`, `\\r\\n` and `\\r`. A line that is not finished waits a moment, then is shown as it is (a prompt, a bar).
"""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

StreamName = Literal["stdout", "stderr"]
Key = tuple[int, StreamName]

SHOW_UNFINISHED_AFTER = 0.2  # seconds
CLEAR_TO_END = "\x1b[K"
COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)

_SEGMENT = re.compile(r"[^\r\n]*(?:\r\n|\n|\r(?!\n|$))")


@dataclass(slots=True)
class _Pending:
    """One stream's unfinished text."""

    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
    text: str = ""
    since: float = 0.0


class OutputMultiplexer:
    """Takes chunks of bytes per rank and stream, writes tagged text to two sinks and raw bytes to log files."""

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        size: int,
        tag: bool,
        timestamp: bool = False,
        log_dir: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sinks: dict[StreamName, TextIO] = {"stdout": stdout, "stderr": stderr}
        self._is_terminal = {name: sink.isatty() for name, sink in self._sinks.items()}
        self._width = len(str(size - 1))
        self._tag = tag
        self._timestamp = timestamp
        self._clock = clock
        self._log_dir = Path(log_dir) if log_dir is not None else None
        self._logs: dict[Key, BinaryIO] = {}
        self._pending: dict[Key, _Pending] = {}
        self._is_abandoned = False
        self._open: dict[StreamName, int | None] = {"stdout": None, "stderr": None}  # whose line is unfinished

    def feed(self, rank: int, stream: StreamName, data: bytes) -> None:
        """Take a chunk of what a rank wrote."""
        self._log(rank, stream, data)
        pending = self._pending.setdefault((rank, stream), _Pending())
        text = pending.text + pending.decoder.decode(data)
        end = 0
        for match in _SEGMENT.finditer(text):
            self._write(rank, stream, match.group())
            end = match.end()
        # A carriage return at the very end may be the first half of \r\n.
        pending.text = text[end:]
        pending.since = self._clock()

    def tick(self) -> None:
        """Show unfinished lines that have waited long enough. Call a few times a second."""
        now = self._clock()
        for (rank, stream), pending in self._pending.items():
            if pending.text and now - pending.since >= SHOW_UNFINISHED_AFTER:
                self._write(rank, stream, pending.text)
                pending.text = ""

    def close(self) -> None:
        """Show what is left, end every open line, close the log files."""
        for (rank, stream), pending in self._pending.items():
            rest = pending.text + pending.decoder.decode(b"", final=True)
            pending.text = ""
            if rest:
                self._write(rank, stream, rest)
        for stream in self._sinks if not self._is_abandoned else ():
            self._end_line(stream)
            self._flush(stream)
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def abandon(self) -> None:
        """Nobody reads any more: keep only the log files."""
        self._is_abandoned = True

    def log_path(self, rank: int, stream: StreamName) -> Path | None:
        """Where a rank's stream is kept, None without a log directory."""
        if self._log_dir is None:
            return None
        return self._log_dir / f"rank.{rank:0{max(self._width, 2)}d}" / stream

    def _write(self, rank: int, stream: StreamName, segment: str) -> None:
        if self._is_abandoned:
            return
        continues = self._open[stream] == rank
        if not continues:
            self._end_line(stream)
        body = segment.rstrip("\r\n")
        tag = "" if continues or not body else self._tag_of(rank, stream)
        if tag and self._is_terminal[stream]:
            tag = CLEAR_TO_END + tag
        if segment == "\n" and not continues:
            tag = self._tag_of(rank, stream).rstrip(" ")
        self._put(stream, tag + segment)
        # After \r the cursor is at a line's begin: the next piece, of whoever, brings its own tag.
        self._open[stream] = None if segment.endswith(("\n", "\r")) else rank
        self._flush(stream)

    def _end_line(self, stream: StreamName) -> None:
        if self._open[stream] is not None:
            self._put(stream, "\n")
            self._open[stream] = None

    def _tag_of(self, rank: int, stream: StreamName) -> str:
        stamp = ""
        if self._timestamp:
            now = self._clock()
            stamp = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d} "
        if not self._tag:
            return stamp
        tag = f"[{rank:{self._width}d}]"
        if self._is_terminal[stream]:
            tag = f"\x1b[{COLORS[rank % len(COLORS)]}m{tag}\x1b[0m"
        return f"{stamp}{tag} "

    def _put(self, stream: StreamName, text: str) -> None:
        sink = self._sinks[stream]
        try:
            sink.write(text)
        except UnicodeEncodeError:
            # A terminal that is not UTF-8: show what it can.
            encoding = sink.encoding or "ascii"
            sink.write(text.encode(encoding, "replace").decode(encoding))

    def _flush(self, stream: StreamName) -> None:
        self._sinks[stream].flush()

    def _log(self, rank: int, stream: StreamName, data: bytes) -> None:
        path = self.log_path(rank, stream)
        if path is None:
            return
        key = (rank, stream)
        if key not in self._logs:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._logs[key] = path.open("wb")
        self._logs[key].write(data)
        self._logs[key].flush()
