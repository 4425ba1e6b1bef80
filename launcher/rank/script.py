"""The user's script inside a rank: run it as `python script.py` would, and let no exception leave the job hanging.

An uncaught exception goes to the supervisor with its traceback, then the process leaves at once: the usual way out
would run MPI's finalization, which waits for peers that wait for us. Nothing of dtrain is loaded here unless the script
does it. What the script has done to its streams, descriptors and signals must not stop the report.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import pkgutil
import runpy
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from dtrain.base.errors import CollectiveMismatchError, PeerLostError
from dtrain.base.exception_text import (
    exception_message,
    exception_name,
    exception_traceback,
    frames_of_user,
    object_text,
)
from dtrain.control.exit_codes import FAILED, INTERRUPTED
from dtrain.control.messages import Summary
from dtrain.control.verdict import Failure
from dtrain.launcher.rank.reports import ReportPipe

# Asks for the stacks of all threads. faulthandler answers in C, so that it works while native code holds the GIL.
STACKS_SIGNAL = signal.SIGRTMIN + 7

_ERRORS_OF_ALL = (CollectiveMismatchError.__name__, PeerLostError.__name__)

# Frames of who started the script, for a traceback that begins with the script's own.
_STARTERS = (__file__, runpy.__file__, pkgutil.__file__, "<frozen runpy>", "<frozen zipimport>")


@dataclass(frozen=True, slots=True)
class Script:
    """A script file or module with its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    as_module: bool = False

    def run(self, faults: int, reports: ReportPipe) -> int:
        """Run to the end and return 0; every other end leaves the process.

        `faults` is the descriptor that takes stacks, of hard crashes and when asked for; `reports` takes what the
        script dies of.
        """
        faulthandler.enable(file=faults, all_threads=True)
        faulthandler.register(STACKS_SIGNAL, file=faults, all_threads=True)
        try:
            _forget_shell()
            self._execute()
        except SystemExit as leaving:
            code = _exit_code(leaving, reports)
            if code != 0:
                return _leave(code, reports)
        except KeyboardInterrupt as error:
            _report(error, INTERRUPTED, reports)
            return _leave(INTERRUPTED, reports)
        except BaseException as error:
            code = _code_of(error)
            _print(_report(error, code, reports))
            return _leave(code, reports)
        _summarize(reports)
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


def _report(error: BaseException, code: int, reports: ReportPipe) -> str:
    """Tell the supervisor; returns what is left to print."""
    text = exception_traceback(error, frames_of_user(error, _of_user(error.__traceback__)))
    if reports.is_of_this_process:
        sides: tuple[str, ...] = ()
        if exception_name(error) == CollectiveMismatchError.__name__:
            with suppress(Exception):
                sides = tuple(str(side) for side in getattr(error, "sides", ()))
        kind, message = exception_name(error), exception_message(error)
        reports.send(Failure(kind=kind, text=message, traceback=text, sides=sides, exit_code=code))
        if exception_name(error) in _ERRORS_OF_ALL:
            return ""  # every rank raises it, and the verdict shows it once
    return text


def _summarize(reports: ReportPipe) -> None:
    """Say that the script came to its end, which `os._exit` does not, and whether it exchanged anything: None of one
    that uses MPI itself, or no dtrain."""
    counters = sys.modules.get("dtrain.collectives.communicator.counters")
    world = sys.modules.get("dtrain.collectives.world.context")
    talks_by_itself = "mpi4py.MPI" in sys.modules and not getattr(world, "has_had_world", False)
    is_unknown = "dtrain.core" not in sys.modules or talks_by_itself or "torch.distributed" in sys.modules
    if reports.is_of_this_process:
        calls = counters.Counters.calls_in_process if counters is not None else 0
        reports.send(Summary(None if is_unknown else calls > 0))


def _of_user(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's first line on; nothing where the script never ran, as with a SyntaxError."""
    while frames is not None and frames.tb_frame.f_code.co_filename in _STARTERS:
        frames = frames.tb_next
    return frames


def _code_of(error: BaseException) -> int:
    """Only our own errors choose the job's code; an attribute of that name on any other means something else."""
    with suppress(Exception):
        return int(sys.modules["dtrain.base.errors"].exit_code_of(error))
    return FAILED


def _exit_code(leaving: SystemExit, reports: ReportPipe) -> int:
    """The code of `sys.exit(…)`; a text goes where Python prints it, and into the report.

    The system keeps eight bits of a number. One of which nothing would be left, as of 256, was no good end.
    """
    if leaving.code is None:
        return 0
    text = ""
    if isinstance(leaving.code, int):
        code = leaving.code & 0xFF or (FAILED if leaving.code else 0)
        if code and (leaving.code > 0xFF or not leaving.code & 0xFF):
            text = f"the script asked for {object_text(leaving.code, limit=20)}, and codes end at 255"
    else:
        code, text = FAILED, object_text(leaving.code)
    if code and reports.is_of_this_process:
        reports.send(Failure(kind="", text=text, exit_code=code))
    if not isinstance(leaving.code, int):
        _print(text + "\n")
    return code


def _print(text: str) -> None:
    """To the script's stderr. Where that is closed or None nothing is printed, and never to a bare number 2, which may
    be a file of the script's by now; the verdict has the text anyway."""
    with suppress(BaseException):
        sys.stderr.write(text)
        sys.stderr.flush()


def _leave(code: int, reports: ReportPipe) -> int:
    for last in (
        logging.shutdown,
        *(_flush_of(stream) for stream in (sys.stdout, sys.stderr)),
        reports.wait_until_heard,
    ):
        # Closed, None, or an object of the user's: there is nobody to tell.
        with suppress(BaseException):
            last()
    os._exit(code)


def _flush_of(stream: Any) -> Callable[[], object]:
    return lambda: stream.flush()
