"""Processes a backend started on this machine, as one thing to poll, end and listen to."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dtrain.base.errors import LaunchError, expected

MAX_MESSAGE_LINES = 200
FOLDER = "dtrain-mpirun-"
FORGOTTEN_AFTER = 3600.0  # seconds
LAST_BREATH = 1.0  # seconds for a killed process to be gone


class StartedProcesses:
    """Any number of processes, each a session of its own so that a terminal's Ctrl-C reaches only the launcher."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lines: deque[str] = deque(maxlen=MAX_MESSAGE_LINES)
        self._readers: list[threading.Thread] = []
        self._folders: list[str] = []

    def make_folder(self) -> str:
        """A new folder for the processes, which goes with them at `kill`. Raises `LaunchError`."""
        _remove_forgotten()
        try:
            self._folders.append(tempfile.mkdtemp(prefix=FOLDER))
        except OSError as error:
            raise LaunchError(expected("launcher", "a folder for temporary files", str(error), "set TMPDIR")) from None
        return self._folders[-1]

    def add(self, argv: Sequence[str], env: Mapping[str, str], *, stdin: Any = subprocess.DEVNULL) -> None:
        """Start one more. Raises `LaunchError` when the program cannot be run."""
        try:
            process = subprocess.Popen(
                argv,
                env=dict(env),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.kill()
            raise LaunchError(expected("launcher", f"to run {argv[0]}", str(error))) from None
        self._processes.append(process)
        assert process.stdout is not None
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        self._readers.append(reader)

    def poll(self) -> int | None:
        """First non-zero exit code when all have ended, None before."""
        codes = [process.poll() for process in self._processes]
        if any(code is None for code in codes):
            return None
        return next((code for code in codes if code), 0)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End what still runs, and take away what the processes have left in their folders."""
        self._signal(signal.SIGKILL)
        until = time.monotonic() + LAST_BREATH
        for process in self._processes if self._folders else ():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        while self._folders:
            shutil.rmtree(self._folders.pop(), ignore_errors=True)

    def messages(self) -> str:
        """What they wrote themselves; the ranks' own output goes another way."""
        for reader in self._readers:
            reader.join(0.2)
        return "".join(self._lines)

    def _signal(self, number: int) -> None:
        for process in self._processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line.decode(errors="replace"))


def _remove_forgotten() -> None:
    """Folders whose launcher was killed: mpirun empties them, and nobody takes them away. One in use is not empty."""
    limit = time.time() - FORGOTTEN_AFTER
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < limit:
                folder.rmdir()
