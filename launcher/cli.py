"""The `dtrain` command: `run`, `bench`, `doctor`. Nothing here starts a rank; each subcommand is handed on."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence

from dtrain.base.errors import LaunchError, expected
from dtrain.base.version import VERSION
from dtrain.launcher.flags import UsageError

HELP = """\
usage: dtrain COMMAND …

  dtrain run -np 4 train.py      start a training script as four ranks, and watch them
  dtrain bench all_reduce -np 2  measure collectives (all_reduce, …) or a whole step (step)
  dtrain doctor                  what is installed here, and what is missing

dtrain COMMAND --help says more; dtrain --version prints the version.
"""

WRONG_USAGE = 2
COULD_NOT_START = 125


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code. Never shows a traceback for what a user can cause."""
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
    from dtrain.launcher.run import run

    return run(arguments, os.environ)


def _bench(arguments: Sequence[str]) -> int:
    from dtrain.launcher.bench import bench

    return bench(arguments)


def _doctor(arguments: Sequence[str]) -> int:
    from dtrain.launcher.doctor import doctor

    return doctor(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"run": _run, "bench": _bench, "doctor": _doctor}


if __name__ == "__main__":
    sys.exit(main())
