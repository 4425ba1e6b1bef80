"""`dtrain bench NAME`: hand on to the benchmark's own module, under the launcher where ranks are asked for.

A benchmark is a module with `add_arguments(parser)` and `run(args) -> int`. It lies above this floor, so it is imported
by name and only when asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dtrain.base.errors import expected
from dtrain.launcher.flags import TeachingParser, UsageError

BENCHMARKS = {
    "all_reduce": "dtrain.collectives.bench.all_reduce",
    "step": "dtrain.collectives.bench.step",
    "peer_step": "dtrain.collectives.bench.peer_step",
    "output": "dtrain.launcher.bench_output",
}
ENTRY = "dtrain.launcher.bench"


def bench(arguments: Sequence[str]) -> int:
    """Run a benchmark in this process, or launch this module as `-np N` ranks."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: dtrain bench NAME [-np N] …\n\nNAME is one of {', '.join(BENCHMARKS)}; NAME --help says more.")
        return 0 if arguments else 2
    name, *rest = arguments
    module = _module_of(name)
    parser = TeachingParser(prog=f"dtrain bench {name}", allow_abbrev=False)
    parser.add_argument("-np", "--num-proc", type=int, default=0, metavar="N", help="launch this many ranks")
    parser.add_argument("--launcher", default="auto", help="what starts them: auto, local, mpirun or ray")
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    if args.num_proc < 0:
        raise UsageError(expected("dtrain bench -np", "a number of at least 1", str(args.num_proc)))
    if args.num_proc == 0 or getattr(module, "STARTS_RANKS", False):
        return int(module.run(args))
    return _launched(name, rest, args.num_proc, args.launcher)


def _module_of(name: str) -> Any:
    # nccl-tests and others write it without the underscore.
    wanted = {"allreduce": "all_reduce"}.get(name, name)
    if wanted not in BENCHMARKS:
        raise UsageError(expected("dtrain bench", "one of " + ", ".join(BENCHMARKS), repr(name)))
    module = BENCHMARKS[wanted]
    if find_spec(module) is None:
        raise UsageError(expected("dtrain bench", f"the module {module}", "none", "reinstall dtrain"))
    return import_module(module)


def _launched(name: str, rest: Sequence[str], num_proc: int, launcher: str) -> int:
    from dtrain.launcher.run import run

    # Tables come from rank 0 alone, so a tag before each line would only be in the way.
    flags = ["-np", str(num_proc), "--launcher", launcher, "--no-tag", "--quiet"]
    return run([*flags, "-m", ENTRY, name, *_without_launch_flags(rest)], os.environ)


def _without_launch_flags(arguments: Sequence[str]) -> list[str]:
    """The arguments without -np N and --launcher L, which the ranks must not see again."""
    # Not by argparse: it would take the benchmark's own -n for -np cut short.
    kept: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, _ = argument.partition("=")
        if flag not in ("-np", "--num-proc", "--launcher"):
            kept.append(argument)
        elif not equals:
            next(remaining, None)
    return kept


if __name__ == "__main__":
    sys.exit(bench(sys.argv[1:]))
