"""Standard input of a job on its way to rank 0: read where the launcher runs, written into the rank's pipe here.

mpirun passes bytes on but not their end, and Ray passes nothing. So the launcher reads its own standard input, piece by
piece as the rank takes them, and an empty piece is the end.
"""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time
from collections.abc import Callable

from dtrain.control.client import ControlClient

PIECE = 1 << 16
LOOK = 0.2  # seconds between looks at a terminal that another process group reads


class RankInput:
    """In the supervisor of rank 0: what the rank has not read yet waits here, one piece at most."""

    def __init__(self, descriptor: int, selector: selectors.BaseSelector, client: ControlClient) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._selector = selector
        self._client = client
        self._waiting = b""
        self._is_open = True

    def take(self, data: bytes) -> None:
        """A piece from the launcher, the empty one at the end."""
        if not self._is_open:
            return
        if not data:
            self._close()
            return
        self._waiting += data
        self._selector.register(self._descriptor, selectors.EVENT_WRITE)

    def write(self) -> None:
        """The pipe takes bytes again; ask for the next piece when this one is in it."""
        try:
            written = os.write(self._descriptor, self._waiting)
        except BlockingIOError:
            return
        except OSError:
            self._selector.unregister(self._descriptor)
            self._close()  # the rank has closed its end: the rest is for nobody
            return
        self._waiting = self._waiting[written:]
        if not self._waiting:
            self._selector.unregister(self._descriptor)
            self._client.send({"type": "input_taken"})

    def _close(self) -> None:
        self._is_open = False
        os.close(self._descriptor)


class StandardInput:
    """In the launcher: a thread that reads our standard input and gives it away in pieces.

    A terminal is read only while it is ours (the job is in the foreground). Whoever wants to keep standard input for
    what comes after the job starts it with `< /dev/null`.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._is_wanted = threading.Semaphore(1)
        threading.Thread(target=self._work, name="dtrain-input", daemon=True).start()

    def want_more(self) -> None:
        """The rank has taken the last piece."""
        self._is_wanted.release()

    def _work(self) -> None:
        data = b"-"
        while data:
            self._is_wanted.acquire()
            data = self._read()
            self._send(data)

    def _read(self) -> bytes:
        try:
            while not _is_ours(0):
                time.sleep(LOOK)
            return os.read(0, PIECE)
        except (OSError, ValueError):
            return b""  # closed: the same as nothing


def _is_ours(descriptor: int) -> bool:
    return not os.isatty(descriptor) or os.tcgetpgrp(descriptor) == os.getpgrp()


def is_terminal() -> bool:
    """Whether this process's standard input is one."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
