"""Where output goes: a stream of this process, written through its descriptor so that nothing is kept in between."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TextIO

PIECE = 1 << 16  # bytes a write: how finely progress is seen, and how much a reader must take for some


class Sink:
    """One of stdout and stderr, or nothing where this process has none. Errors of writing are the caller's."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.is_terminal = False
        self.encoding = "utf-8"
        self.descriptor = -1
        self.taken = 0  # bytes that the other side has taken; only grows
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            self.is_terminal = stream.isatty()
        self.encoding = stream.encoding or "utf-8"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.descriptor = stream.fileno()

    @property
    def target(self) -> tuple[int, int] | None:
        """What is behind the descriptor: equal for two sinks that mix."""
        if self.descriptor < 0:
            return None
        try:
            status = os.fstat(self.descriptor)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def write(self, text: str) -> None:
        """Write all of it, waiting as long as the other side does. A terminal that is not UTF-8 shows what it can."""
        if self.descriptor < 0:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
            self.taken += len(text)
            return
        data = memoryview(text.encode(self.encoding, "backslashreplace" if self.encoding == "utf-8" else "replace"))
        while data:
            try:
                written = os.write(self.descriptor, data[:PIECE])
            except BlockingIOError:
                # Whoever shares this open file has set it so.
                select.select([], [self.descriptor], [], 1.0)
                continue
            self.taken += written
            data = data[written:]
