"""`dtrain bench NAME`: hand on to the benchmark's own module, under the launcher where ranks are asked for.

A benchmark is a module with `add_arguments(parser)` and `run(args) -> int`, and may have `check(args)`, which raises an
error for what argparse lets through, before any rank is started. It lies above this floor, so it is imported
by name and only when asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dtrain.base.errors import DtrainError, expected
from dtrain.base.rank_info import rank_tag
from dtrain.launcher.command.command_line import UnknownFlagError, read_flag, split_flag
from dtrain.launcher.command.flags import SPELLINGS, TeachingParser
from dtrain.launcher.plan.spec import UsageError

BENCHMARKS = {
    "all_reduce": "dtrain.collectives.bench.all_reduce",
    "step": "dtrain.collectives.bench.step",
    "peer_step": "dtrain.collectives.bench.peer_step",
    "output": "dtrain.launcher.command.bench_output",
    "memory_plan": "dtrain.bench.memory_plan",
}
ENTRY = "dtrain.launcher.command.bench"


def bench(arguments: Sequence[str]) -> int:
    """Run a benchmark in this process, or launch this module as `-np N` ranks."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: dtrain bench NAME [-np N] …\n\nNAME is one of {', '.join(BENCHMARKS)}; NAME --help says more.")
        return 0 if arguments else 2
    name, *rest = arguments
    module = _module_of(name)
    parser = TeachingParser(prog=f"dtrain bench {name}", allow_abbrev=False)
    module.add_arguments(parser)
    parser.epilog = "Every flag of dtrain run is taken too; with one of them (-np 2) the benchmark runs as ranks."
    launch, own = _sorted_flags(parser, rest)
    args = parser.parse_args(own)
    try:
        getattr(module, "check", lambda args: None)(args)
    except (ValueError, DtrainError) as error:
        parser.error(str(error).removeprefix(rank_tag()))
    if getattr(module, "STARTS_RANKS", False):
        args.launch = launch
    elif launch:
        return _launched(name, launch, own)
    return int(module.run(args))


def _sorted_flags(parser: TeachingParser, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags of `dtrain run`, and the rest; a flag that the benchmark has itself is its own."""
    launch: list[str] = []
    own: list[str] = []
    spellings = {name: flag for name, flag in SPELLINGS.items() if name not in parser._option_string_actions}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        own_name = word.partition("=")[0] in parser._option_string_actions
        if own_name or split_flag(word, spellings)[0] not in spellings:
            own.append(word)
            continue
        try:
            taken, used = read_flag(word, arguments[position:], spellings)
        except UnknownFlagError as error:
            parser.error(str(error))
        launch += taken
        position += used
    return launch, own


def _module_of(name: str) -> Any:
    # nccl-tests and others write it without the underscore.
    wanted = {"allreduce": "all_reduce"}.get(name, name)
    if wanted not in BENCHMARKS:
        raise UsageError(expected("dtrain bench", "one of " + ", ".join(BENCHMARKS), repr(name)))
    module = BENCHMARKS[wanted]
    if find_spec(module) is None:
        raise UsageError(expected("dtrain bench", f"the module {module}", "none", "reinstall dtrain"))
    return import_module(module)


def _launched(name: str, launch: Sequence[str], own: Sequence[str]) -> int:
    from dtrain.launcher.command.run import run

    # Tables come from rank 0 alone, so a tag before each line would only be in the way.
    return run(["--no-tag", "--quiet", *launch, "-m", ENTRY, name, *own], os.environ)


if __name__ == "__main__":
    sys.exit(bench(sys.argv[1:]))
