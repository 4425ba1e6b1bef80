"""Standard input of a job where it begins: the launcher reads its own, piece by piece as rank 0 takes them.

mpirun passes bytes on but not their end, and Ray passes nothing. `rank/rank_input.py` is the other end.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

PIECE = 1 << 16
LOOK = 0.2  # seconds between looks at a terminal that another process group reads


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
