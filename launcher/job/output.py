"""Many ranks' output on one sink: whole lines, each with its rank, in time linear in what they write.

Bytes of a stream become text across chunk edges (a UTF-8 character cut in two is put together again). A line that is
not finished waits a moment, then is shown as it is (a prompt); one that grows without end is shown in pieces.

On a terminal progress bars (`\\r`) overwrite themselves as ever. Elsewhere (a file, a pipe) of such a line only what
stands last is written, and while it lasts one state every few seconds.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

StreamName = Literal["stdout", "stderr"]
Key = tuple[int, StreamName]

SHOW_UNFINISHED_AFTER = 0.2  # seconds
SHOW_BAR_EVERY = 5.0
MAX_HELD = 1 << 20  # characters of one unfinished line
CLEAR_TO_END = "\x1b[K"
COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


@dataclass(slots=True)
class _Line:
    """The unfinished line of one stream: pieces that are joined when it ends."""

    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    since: float = 0.0
    has_return: bool = False  # a \r in what is held: a bar, or the first half of \r\n
    is_bar: bool = False  # there was text after a \r
    bar_was_shown: bool = False

    def hold(self, text: str, now: float) -> None:
        if text:
            if not self.pieces:
                self.since = now
            self.pieces.append(text)
            self.size += len(text)

    def take(self) -> str:
        text = "".join(self.pieces)
        self.pieces.clear()
        self.size = 0
        return text


class TaggedLines:
    """Takes chunks of bytes per rank and stream, hands tagged text to `write`, in calls of any size."""

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        is_terminal: bool,
        size: int,
        tag: bool,
        timestamp: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._put = write
        self._is_terminal = is_terminal
        self._is_raw = is_terminal and size == 1 and not tag and not timestamp  # as if it ran without us
        self._width = len(str(size - 1))
        self._max_held = max(1 << 16, MAX_HELD * 16 // max(size, 16))
        self._tag = tag
        self._timestamp = timestamp
        self._clock = clock
        self._lines: dict[Key, _Line] = {}
        self._open: Key | None = None  # whose line is unfinished on the sink

    def feed(self, rank: int, stream: StreamName, data: bytes) -> None:
        """Take a chunk of what a rank wrote."""
        key = (rank, stream)
        line = self._lines.setdefault(key, _Line())
        self._take(key, line, line.decoder.decode(data))

    def tick(self) -> None:
        """Show unfinished lines that have waited long enough. Call a few times a second."""
        now = self._clock()
        for key, line in self._lines.items():
            if line.pieces and now - line.since >= (SHOW_BAR_EVERY if line.has_return else SHOW_UNFINISHED_AFTER):
                self._show_unfinished(key, line)

    def say(self, text: str) -> None:
        """Words of the launcher itself, on lines of their own."""
        self._end_open_line()
        self._put(text)

    def close(self) -> None:
        """Show what is left and end every open line. More may follow."""
        for key, line in self._lines.items():
            line.hold(line.decoder.decode(b"", final=True), 0.0)
            if line.pieces:
                self._show_unfinished(key, line)
        self._end_open_line()

    def _take(self, key: Key, line: _Line, text: str) -> None:
        if self._is_raw:
            self._put(text)
            self._open = self._open if not text else None if text.endswith(("\n", "\r")) else key
            return
        if "\r" in text or line.has_return:
            self._take_returns(key, line, text)
            return
        finished, newline, rest = text.rpartition("\n")
        if newline:
            self._put_lines(key, line.take() + finished)
        line.hold(rest, self._clock())
        if line.size > self._max_held:
            self._show_unfinished(key, line)

    def _take_returns(self, key: Key, line: _Line, text: str) -> None:
        """Of every line what stands last: what comes before it in one chunk nobody could see, even on a terminal."""
        since = line.since if line.pieces else self._clock()
        finished, newline, rest = (line.take() + text).rpartition("\n")
        if newline:
            since = self._clock()
            lines = [_last_state(one, is_bar=False) for one in finished.split("\n")]
            if line.is_bar:
                lines[0] = lines[0].rstrip("\r")
                if line.bar_was_shown and not lines[0].strip():
                    del lines[0]
            line.is_bar = line.bar_was_shown = False
            if lines:
                self._put_lines(key, "\n".join(lines))
        line.has_return = "\r" in rest
        line.is_bar = line.is_bar or "\r" in rest.rstrip("\r")
        # What follows a \r takes the place of what stands before it, so both are kept.
        line.hold(_last_state(rest, is_bar=True) + "\r" * rest.endswith("\r"), since)
        if line.is_bar and self._is_terminal:
            self._put(self._before(key, True) + line.take().rstrip("\r") + "\r")
            line.bar_was_shown = True
            self._open = None  # the cursor is at the line's begin: the next piece, of whoever, brings its own tag

    def _put_lines(self, key: Key, text: str) -> None:
        """Finished lines, without the last newline."""
        if self._open == key:
            text = _with_tags(text, self._tag_of(key))
        else:
            self._end_open_line()
            text = _with_tags("\n" + text, self._tag_of(key))[1:]
        self._put(text + "\n")
        self._open = None

    def _show_unfinished(self, key: Key, line: _Line) -> None:
        text = line.take()
        if line.has_return and not self._is_terminal:
            if text := text.rstrip("\r"):
                line.bar_was_shown = True
                self._put_lines(key, text)
            return
        self._put(self._before(key, True) + text)
        self._open = key

    def _before(self, key: Key, has_text: bool) -> str:
        if self._open == key:
            return ""
        self._end_open_line()
        return self._tag_of(key) if has_text else ""

    def _end_open_line(self) -> None:
        if self._open is not None:
            self._put("\n")
            self._open = None

    def _tag_of(self, key: Key) -> str:
        rank, _ = key
        stamp = ""
        if self._timestamp:
            now = self._clock()
            stamp = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d} "
        if self._tag:
            tag = f"[{rank:{self._width}d}]"
            if self._is_terminal:
                tag = f"\x1b[{COLORS[rank % len(COLORS)]}m{tag}\x1b[0m"
            stamp = f"{stamp}{tag} "
        return CLEAR_TO_END + stamp if stamp and self._is_terminal else stamp


def _with_tags(text: str, tag: str) -> str:
    """Put the tag after every newline; an empty line gets it without the space."""
    if not tag:
        return text
    if "\n\n" not in text and not text.endswith("\n"):
        return text.replace("\n", "\n" + tag)
    first, *lines = text.split("\n")
    bare = tag.rstrip(" ")
    return "\n".join([first, *(tag + line if line else bare for line in lines)])


def _last_state(line: str, *, is_bar: bool) -> str:
    """What stands last of a line with carriage returns. One at its end, as of \\r\\n, stays unless it is a bar's."""
    body = line.rstrip("\r")
    if "\r" not in body:
        return body if is_bar or len(line) - len(body) != 1 else line
    return next((state for state in reversed(body.split("\r")) if state.strip()), "")
