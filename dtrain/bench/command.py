"""`dtrain bench NAME`: find the benchmark's file, and run it here or, where ranks are asked for, under the launcher.

A benchmark is a module in `benchmarks/` with `add_arguments(parser)` and `run(args) -> int`, and may have
`check(args)`, which raises an error for what argparse lets through, before any rank is started. The first line of its
docstring stands in the list. One that sets STARTS_RANKS starts jobs by itself and finds their flags in `args.launch`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from dtrain.base.errors import DtrainError, expected
from dtrain.base.module_folder import ModuleFolder
from dtrain.base.rank_info import RankInfo, rank_tag
from dtrain.bench.report import add_report_flags, check_report_files
from dtrain.launcher.command.command_line import UnknownFlagError, read_flag, split_flag
from dtrain.launcher.command.flags import SPELLINGS, TeachingParser
from dtrain.launcher.plan.spec import UsageError

BENCHMARKS = ModuleFolder("dtrain.bench.benchmarks", Path(__file__).parent / "benchmarks")
ENTRY = "dtrain.bench"
# nccl-tests and others write it without the underscore.
OTHER_NAMES = {"allreduce": "all_reduce"}
USAGE = "usage: dtrain bench NAME [flags of the benchmark] [flags of dtrain run, such as -np 2 -H host1,host2]"


def bench(arguments: Sequence[str]) -> int:
    """Run a benchmark in this process, or launch this module as `-np N` ranks."""
    if not arguments or arguments[0] in ("-h", "--help", "--list", "-l"):
        print(listing())
        return 0 if arguments else 2
    name, *rest = arguments
    name = OTHER_NAMES.get(name, name)
    if name not in BENCHMARKS.names:
        near = get_close_matches(name.replace("-", "_"), BENCHMARKS.names, n=1)
        advice = f"did you mean {near[0]}?" if near else "see dtrain bench --list"
        raise UsageError(expected("dtrain bench", "one of " + ", ".join(BENCHMARKS.names), repr(name), advice))
    module = BENCHMARKS.load(name)
    parser = TeachingParser(prog=f"dtrain bench {name}", allow_abbrev=False)
    module.add_arguments(parser)
    add_report_flags(parser)
    taken = "Every flag of dtrain run is taken too; with one of them (-np 2) the benchmark runs as ranks."
    parser.epilog = "\n".join(filter(None, (parser.epilog, taken)))
    launch, own = _sorted_flags(parser, rest)
    args = parser.parse_args(own)
    elsewhere = any(flag.startswith("--host") for flag in launch)  # whose files this host cannot see
    try:
        if _rank() == 0 and not elsewhere:  # which alone writes
            check_report_files(args)
        getattr(module, "check", lambda args: None)(args)
    except (ValueError, DtrainError) as error:
        parser.error(str(error).removeprefix(rank_tag()))
    if getattr(module, "STARTS_RANKS", False):
        args.launch = launch
    elif launch:
        return _launched(name, launch, own)
    return int(module.run(args))


def _rank() -> int:
    try:
        return RankInfo.from_environment().rank
    except DtrainError:  # an environment that contradicts itself, of which others complain
        return 0


def listing() -> str:
    """Every benchmark with what it measures."""
    return "\n".join([USAGE, "", *BENCHMARKS.listing(), "", "dtrain bench NAME --help says more."])


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


def _launched(name: str, launch: Sequence[str], own: Sequence[str]) -> int:
    from dtrain.launcher.command.run import run

    # Tables come from rank 0 alone, so a tag before each line would only be in the way.
    return run(["--no-tag", "--quiet", *launch, "-m", ENTRY, name, *own], os.environ)
