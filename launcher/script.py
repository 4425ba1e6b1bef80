"""The user's script inside a rank: run it as `python script.py` would, and let no exception leave the job hanging.

An uncaught exception goes to the supervisor with its traceback, then the process leaves at once: the usual way out
would run MPI's finalization, which waits for peers that wait for us. Nothing of dtrain is loaded here unless the script
does it.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

# Asks for the stacks of all threads. faulthandler answers in C, so that it works while native code holds the GIL.
STACKS_SIGNAL = signal.SIGRTMIN + 7

FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Script:
    """A script file or module with its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    as_module: bool = False

    def run(self, faults: int, reports: int) -> int:
        """Run to the end and return 0; every other end leaves the process.

        `faults` and `reports` are descriptors: the one takes stacks, of hard crashes and when asked for, the other a
        line of JSON for an uncaught exception.
        """
        faulthandler.enable(file=faults, all_threads=True)
        faulthandler.register(STACKS_SIGNAL, file=faults, all_threads=True)
        try:
            _forget_shell()
            self._execute()
        except SystemExit as leaving:
            code = _exit_code(leaving)
            return code if code == 0 else _leave(code)
        except KeyboardInterrupt:
            return _leave(INTERRUPTED)
        except BaseException as error:
            _report(error, reports)
            return _leave(getattr(error, "exit_code", FAILED))
        return 0

    def _execute(self) -> None:
        sys.argv = [self.name, *self.arguments]
        if self.as_module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(self.name, run_name="__main__", alter_sys=True)
        else:
            # run_path puts a folder or archive on the path itself, but not the folder of a plain file.
            sys.path.insert(0, str(Path(self.name).resolve().parent))
            runpy.run_path(self.name, run_name="__main__")


def _forget_shell() -> None:
    """Undo rank_main's import without `__init__`, so that the script imports the whole package."""
    for name in [name for name in sys.modules if name == "dtrain" or name.startswith("dtrain.")]:
        del sys.modules[name]


def _report(error: BaseException, reports: int) -> None:
    error = error.with_traceback(_of_user(error.__traceback__))
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    message = {
        "type": "failure",
        "exception": type(error).__qualname__,
        "message": str(error),
        "traceback": text,
    }
    with os.fdopen(reports, "w") as stream:
        stream.write(json.dumps(message) + "\n")
    sys.stderr.write(text)


def _of_user(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's first line on, without our frames and runpy's."""
    ours = (__file__, "<frozen runpy>", runpy.__file__)
    rest = frames
    while rest is not None and rest.tb_frame.f_code.co_filename in ours:
        rest = rest.tb_next
    return rest or frames


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return FAILED


def _leave(code: int) -> int:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # the stream is closed; there is nobody to tell
    os._exit(code)
