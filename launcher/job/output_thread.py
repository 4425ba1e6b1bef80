"""The ranks' output on its way out, on threads of their own: whoever reads slowly, or not at all, holds up nobody.

One thread a sink takes chunks from a queue, keeps them in the log files, tags them and writes. What it has written is
told back as credit, and a rank's supervisor sends no more than its credit: so that memory is bounded, and a reader that
pauses slows the ranks' printing as a pipe does, but neither the launcher's loop nor its control messages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, TextIO

from dtrain.launcher.job.output import Key, StreamName, TaggedLines
from dtrain.launcher.job.sink import Sink

TICK = 0.1  # seconds between looks at unfinished lines
BATCH = 1 << 20  # bytes taken together
MAX_ON_THE_WAY = 1 << 24  # bytes of all ranks together

Item = tuple[Key | None, bytes, str, threading.Event | None]  # output of a rank, or our words, or a mark


def credit_of_rank(size: int) -> int:
    """How many bytes one rank may send before they are written."""
    return min(1 << 20, max(1 << 16, MAX_ON_THE_WAY // size))


class OutputThreads:
    """All that is shown: `feed` and `say` return at once, `drain` waits for the readers."""

    def __init__(
        self,
        stdout: TextIO | None,
        stderr: TextIO | None,
        *,
        size: int,
        tag: bool,
        timestamp: bool = False,
        log_dir: str | None = None,
        on_written: Callable[[int, int], None] = lambda rank, nbytes: None,
        on_error: Callable[[str, OSError], None] = lambda name, error: None,
    ) -> None:
        """`on_written(rank, nbytes)` gives credit back; `on_error(what, error)` is called once for a sink or log that
        can no longer be written. Both are called on a writing thread."""
        self._log_dir = Path(log_dir) if log_dir is not None else None
        self._width = max(len(str(size - 1)), 2)
        sinks: dict[StreamName, Sink] = {"stdout": Sink(stdout), "stderr": Sink(stderr)}

        def writer(name: StreamName) -> _Writer:
            lines = {"size": size, "tag": tag, "timestamp": timestamp}
            return _Writer(name, sinks[name], lines, self.log_path, on_written, on_error)

        out = writer("stdout")
        # Two streams into one terminal, file or pipe share a thread, so that their lines do not mix.
        is_shared = sinks["stdout"].target is not None and sinks["stdout"].target == sinks["stderr"].target
        err = out if is_shared else writer("stderr")
        self._writers: dict[StreamName, _Writer] = {"stdout": out, "stderr": err}
        self.stderr_is_terminal = sinks["stderr"].is_terminal

    def feed(self, rank: int, stream: StreamName, data: bytes) -> None:
        """Take a chunk of what a rank wrote."""
        self._writers[stream].queue.put(((rank, stream), data, "", None))

    def say(self, text: str) -> None:
        """Words of the launcher, on stderr, after what the ranks wrote there before."""
        self._writers["stderr"].queue.put((None, b"", text, None))

    def finish_lines(self) -> None:
        """Show unfinished lines as they are, so that what follows stands on lines of its own."""
        for writer in set(self._writers.values()):
            writer.queue.put((None, b"", "", threading.Event()))

    def drain(self, *, patience: float, limit: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait until all is written; False if a reader took nothing for `patience` seconds, or at the `limit`."""
        marks = {writer: threading.Event() for writer in set(self._writers.values())}
        for writer, mark in marks.items():
            writer.queue.put((None, b"", "", mark))
        begin = moved_at = time.monotonic()
        taken = -1
        while not all(mark.wait(0.02) for mark in marks.values()):
            now = time.monotonic()
            if (total := sum(writer.sink.taken for writer in marks)) != taken:
                taken, moved_at = total, now
            if now - moved_at > patience or now - begin > limit or is_enough():
                return False
        return True

    def log_path(self, rank: int, stream: StreamName) -> Path | None:
        """Where a rank's stream is kept, None without a log directory."""
        if self._log_dir is None:
            return None
        return self._log_dir / f"rank.{rank:0{self._width}d}" / stream


class _Writer:
    """One sink's thread. A daemon: at the end of the process nobody waits for it but by `drain`."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        lines: dict[str, int],
        log_path: Callable[[int, StreamName], Path | None],
        on_written: Callable[[int, int], None],
        on_error: Callable[[str, OSError], None],
    ) -> None:
        self.sink = sink
        self.queue: SimpleQueue[Item] = SimpleQueue()
        self._name = name
        self._text: list[str] = []
        self._lines = TaggedLines(
            self._text.append,
            is_terminal=sink.is_terminal,
            size=lines["size"],
            tag=bool(lines["tag"]),
            timestamp=bool(lines["timestamp"]),
        )
        self._log_path = log_path
        self._logs: dict[Key, BinaryIO | None] = {}
        self._on_written = on_written
        self._on_error = on_error
        self._is_broken = False
        threading.Thread(target=self._work, name=f"dtrain-output-{name}", daemon=True).start()

    def _work(self) -> None:
        ticked_at = 0.0
        while True:
            written: dict[int, int] = {}
            marks: list[threading.Event] = []
            try:
                self._take(self.queue.get(timeout=TICK), written, marks)
                while sum(written.values()) < BATCH:
                    self._take(self.queue.get_nowait(), written, marks)
            except Empty:
                pass
            now = time.monotonic()
            if now - ticked_at >= TICK:
                ticked_at = now
                self._lines.tick()
            self._flush()
            for rank, nbytes in written.items():
                self._on_written(rank, nbytes)
            for mark in marks:
                mark.set()

    def _take(self, item: Item, written: dict[int, int], marks: list[threading.Event]) -> None:
        key, data, words, mark = item
        if key is not None:
            rank, stream = key
            self._log(key, data)
            if not self._is_broken:
                self._lines.feed(rank, stream, data)
            written[rank] = written.get(rank, 0) + len(data)
        if words:
            self._lines.say(words)
        if mark is not None:
            self._lines.close()
            marks.append(mark)

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if not text or self._is_broken:
            return
        try:
            self.sink.write(text)
        except OSError as error:
            self._is_broken = True
            self._on_error(self._name, error)

    def _log(self, key: Key, data: bytes) -> None:
        path = self._log_path(*key)
        if path is None:
            return
        try:
            if key not in self._logs:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._logs[key] = path.open("wb", buffering=0)
            log = self._logs[key]
            if log is not None:
                log.write(data)
        except OSError as error:
            # A full disk takes the log, not the job.
            is_first = None not in self._logs.values()
            if (log := self._logs.get(key)) is not None:
                log.close()
            self._logs[key] = None
            if is_first:
                self._on_error(f"the log {path}", error)
