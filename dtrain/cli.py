"""The `dtrain` command, whose words `COMMANDS` lists. Nothing here starts a rank; each is handed on."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper

from dtrain.base.errors import LaunchError, expected
from dtrain.base.version import VERSION
from dtrain.control.exit_codes import BROKEN_PIPE, COULD_NOT_START, FAILED, INTERRUPTED, WRONG_USAGE
from dtrain.launcher.plan.spec import UsageError

HELP = """\
usage: dtrain COMMAND …

  dtrain run -np 4 train.py      start a training script as four ranks, and watch them
  dtrain bench all_reduce -np 2  measure collectives (all_reduce, …) or a whole step (step)
  dtrain doctor                  what is installed here, and what is missing
  dtrain bundle DIR              wheels and a script for machines that reach no package index
  dtrain explain SUBJECT …       why it is as it is: kernels, graphs, memory (dtrain explain --list)

dtrain COMMAND --help says more; dtrain --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code. Never shows a traceback for what a user can cause."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")  # a terminal of ASCII shows what it can
    try:
        try:
            code = _command(arguments)
        except SystemExit as leaving:  # argparse, after --help
            code = leaving.code if isinstance(leaving.code, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:  # before a job, which knows its own way to end
        with suppress(OSError, ValueError, AttributeError):
            print("dtrain: stopped by SIGINT", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `dtrain doctor | head`
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _drop_output()
        print(f"dtrain: cannot write: {error.strerror}", file=sys.stderr)
        return FAILED


def _drop_output() -> None:
    """Nobody takes what is left in the buffer; the interpreter's end would complain of it."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if given else WRONG_USAGE
    if given[0] == "--version":
        print(f"dtrain {VERSION}")
        return 0
    name, *rest = given
    if name not in COMMANDS:
        print(
            expected("dtrain", f"one of {', '.join(COMMANDS)}", repr(name), _did_you_mean(name, rest)), file=sys.stderr
        )
        return WRONG_USAGE
    try:
        return COMMANDS[name](rest)
    except UsageError as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    except LaunchError as error:
        print(f"dtrain: could not start: {error}", file=sys.stderr)
        return COULD_NOT_START


def _did_you_mean(name: str, rest: Sequence[str]) -> str:
    """Advice for a word that is no command."""
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    if name.endswith(".py") or name.startswith("-"):
        return f"did you mean dtrain run {' '.join([name, *rest][:3])}?"
    return f"did you mean dtrain {near[0]}?" if near else "see dtrain --help"


def _run(arguments: Sequence[str]) -> int:
    from dtrain.launcher.command.run import run

    return run(arguments, os.environ)


def _bench(arguments: Sequence[str]) -> int:
    from dtrain.bench.command import bench

    return bench(arguments)


def _doctor(arguments: Sequence[str]) -> int:
    from dtrain.launcher.command.doctor import doctor

    return doctor(arguments)


def _bundle(arguments: Sequence[str]) -> int:
    from dtrain.launcher.bundle.command import bundle

    return bundle(arguments)


def _explain(arguments: Sequence[str]) -> int:
    from dtrain.explain.command import explain

    return explain(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "bench": _bench,
    "doctor": _doctor,
    "bundle": _bundle,
    "explain": _explain,
}


if __name__ == "__main__":
    sys.exit(main())
