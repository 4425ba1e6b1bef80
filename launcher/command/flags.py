"""The flags of `dtrain run`, as people of mpirun, horovodrun and torchrun already type them.

One table makes the parser, so that each flag takes dashes or underscores, and has its mirror `DTRAIN_<FLAG>` in the
environment (the command line wins). Everything after the script belongs to the script.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from dtrain.base.errors import DtrainError, LaunchError, expected
from dtrain.control.exit_codes import COULD_NOT_START, INTERRUPTED, RANKS_DISAGREE, TIMED_OUT, WRONG_USAGE
from dtrain.launcher.backends.table import BACKENDS, row_of, summary
from dtrain.launcher.command.command_line import UnknownFlagError, take_apart
from dtrain.launcher.plan.spec import (
    AUTO,
    LaunchSpec,
    UsageError,
    parse_hosts,
    parse_variable,
    read_environment_file,
    read_hostfile,
)

EXAMPLES = f"""\
examples:
  dtrain run -np 4 train.py --epochs 10        four ranks on this machine
  dtrain run -H a:2,b:4 train.py               six ranks on two machines, through mpirun
  dtrain run --hostfile hosts.txt -N 8 train.py
  dtrain run --launcher ray --address auto -np 16 train.py
  dtrain run -np 4 -x NCCL_DEBUG=INFO --log-dir logs --timeout 3600 -m package.train
  dtrain run -np 4 --plan-only train.py        show the command and the rank table, start nothing
  dtrain run -np 4 --mpi-args="--bind-to core" train.py

exit codes: 0 all ranks 0 · the code of the first rank that failed · 128+s killed by signal s
  {WRONG_USAGE} wrong usage · {RANKS_DISAGREE} ranks ran different collectives · {TIMED_OUT} timeout
  {COULD_NOT_START} could not start · {INTERRUPTED} Ctrl-C
"""


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        advice = "; torchrun counts GPUs there: write how many" if text in ("auto", "cpu", "gpu") else ""
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}{advice}")
    return int(text)


def _seconds(text: str) -> float:
    """`90`, `1.5`, `10m`, `2h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected seconds such as 90, or 10m, or 2h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected words as in a shell, got {text!r} ({error})") from None


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except LaunchError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _variable(text: str) -> dict[str, str | None]:
    name, value = parse_variable(text)
    return {name: value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: the long name, its other spellings, how its text becomes a value."""

    name: str
    also: tuple[str, ...] = ()
    convert: Callable[[str], Any] | None = None  # None: a switch
    value: bool = True  # what a switch sets
    target: str = ""
    repeat: bool = False
    choices: tuple[str, ...] = ()
    metavar: str = ""
    help: str = ""

    @property
    def destination(self) -> str:
        return self.target or self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that stands for this flag."""
        return "DTRAIN_" + self.name.replace("-", "_").upper()

    @property
    def is_switch(self) -> bool:
        """It takes no value."""
        return self.convert is None

    @property
    def spellings(self) -> list[str]:
        longs = dict.fromkeys([f"--{self.name}", f"--{self.name.replace('-', '_')}"])
        return [*self.also, *longs]


FLAGS = (
    Flag(name="num-proc", also=("-np", "-n"), convert=_positive, metavar="N", help="ranks in all"),
    Flag(
        name="nproc-per-node",
        also=("-N", "-ppn"),
        convert=_positive,
        metavar="N",
        help="ranks on each node",
    ),
    Flag(name="hosts", also=("-H",), convert=_checked(parse_hosts), metavar="a:2,b:4", help="hosts and ranks on each"),
    Flag(
        name="hostfile",
        also=("-hostfile",),
        convert=_checked(read_hostfile),
        target="hosts",
        metavar="FILE",
        help="the same from a file: `a slots=2` or `a:2` a line",
    ),
    Flag(
        name="launcher",
        convert=str,
        choices=(AUTO, *BACKENDS),
        help=f"what starts the ranks; {AUTO}: the first that takes the job (local for one rank here); {summary()}",
    ),
    Flag(
        name="x",
        also=("-x",),
        convert=_checked(_variable),
        repeat=True,
        target="environment",
        metavar="VAR[=VALUE]",
        help="give a variable to the ranks; may be repeated",
    ),
    Flag(
        name="env-file",
        convert=_checked(read_environment_file),
        repeat=True,
        target="environment",
        metavar="FILE",
        help="the same from a file of VAR=VALUE lines",
    ),
    Flag(name="tag-output", help="begin each line with its rank (the default for more than one)"),
    Flag(name="no-tag", target="tag_output", value=False, help="pass the ranks' output on as it is"),
    Flag(name="timestamp-output", help="begin each line with the time"),
    Flag(
        name="log-dir",
        also=("--output-filename",),
        convert=str,
        metavar="DIR",
        help="also write DIR/rank.NN/stdout and stderr, and DIR/failure.json",
    ),
    Flag(
        name="events",
        convert=str,
        metavar="FILE",
        help="append what happens to FILE, a line of JSON an event; ranks write theirs with dtrain.events.emit",
    ),
    Flag(name="timeout", convert=_seconds, metavar="S", help="end the job after this long, with every rank's stack"),
    Flag(
        name="start-timeout", convert=_seconds, metavar="S", help="how long ranks may take to come up (default: 60 s)"
    ),
    Flag(
        name="grace",
        convert=_seconds,
        metavar="S",
        help="time between SIGTERM and SIGKILL (default: 1 s after a failure, 10 s after Ctrl-C or SIGTERM)",
    ),
    Flag(name="plan-only", help="print the exact command and the rank table, start nothing"),
    Flag(
        name="mpi-args",
        convert=_words,
        metavar='"..."',
        help="more arguments for mpirun, or for what else starts the ranks; write it with =",
    ),
    Flag(name="quiet", also=("-q",), help="print nothing of the launcher's own but errors"),
    Flag(
        name="address",
        convert=str,
        metavar="A",
        help="Ray cluster to join (default: RAY_ADDRESS, else a local one)",
    ),
)


SPELLINGS = {spelling: flag for flag in FLAGS for spelling in flag.spellings}


def _near_choice(message: str) -> str:
    """What may have been meant, where argparse complains of a choice."""
    found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
    near = get_close_matches(found[1], re.findall(r"[\w-]+", found[2]), n=1, cutoff=0.4) if found else []
    return f" (did you mean {near[0]}?)" if near else ""


class TeachingParser(argparse.ArgumentParser):
    """A parser that raises `UsageError` instead of leaving by itself."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}{_near_choice(message)}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse would keep quiet about a help that could not be written."""
        if message:
            (file or sys.stderr).write(message)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `dtrain run`, script and script arguments."""
    for flag in FLAGS:
        _add(parser, flag)
    parser.add_argument(
        "-m", "--module", dest="as_module", action="store_true", help="SCRIPT is a module, as python -m"
    )
    parser.add_argument("script", metavar="SCRIPT", help="a Python file (or module with -m)")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="belongs to the script")


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    common: dict[str, Any] = {"dest": flag.destination, "default": None, "help": flag.help}
    if flag.convert is None:
        parser.add_argument(*flag.spellings, action="store_const", const=flag.value, **common)
        return
    if flag.choices:
        common["choices"] = flag.choices
    elif flag.metavar:
        common["metavar"] = flag.metavar
    parser.add_argument(*flag.spellings, type=flag.convert, action="append" if flag.repeat else "store", **common)


def parse_run(arguments: Sequence[str], env: Mapping[str, str]) -> LaunchSpec:
    """Make a `LaunchSpec` of a command line and the `DTRAIN_<FLAG>` variables. Raises `UsageError`."""
    parser = make_run_parser()
    try:
        line = take_apart(arguments, SPELLINGS)
    except UnknownFlagError as error:
        parser.error(str(error))
    # argparse sees flags in one form, for their values and for --help; a script may have any name.
    given = parser.parse_args([*line.flags, *(["SCRIPT"] if line.script else [])])
    given.script, given.arguments, given.as_module = line.script, line.arguments, line.as_module
    return spec_of(given, env)


def make_run_parser() -> TeachingParser:
    """The parser of `dtrain run` alone."""
    parser = TeachingParser(
        prog="dtrain run",
        usage="dtrain run [flags] SCRIPT [script arguments]",
        description="Start one training script as many ranks, watch them, and say why when one fails.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_run_arguments(parser)
    return parser


def spec_of(given: argparse.Namespace, env: Mapping[str, str]) -> LaunchSpec:
    """Fill what the command line left open from the environment, then check the whole. Raises `UsageError`."""
    fields: dict[str, Any] = {flag.destination: getattr(given, flag.destination) for flag in FLAGS}
    for flag in FLAGS:
        text = env.get(flag.variable, "")
        if text and fields[flag.destination] is None and flag.name != "x":
            fields[flag.destination] = _from_environment(flag, text)
    variables = fields.pop("environment")
    spec = LaunchSpec(
        script=given.script,
        arguments=tuple(given.arguments),
        as_module=given.as_module,
        environment={name: value for part in variables or () for name, value in part.items()},
        **{name: value for name, value in fields.items() if value is not None},
    )
    return _validated(spec)


def _from_environment(flag: Flag, text: str) -> Any:
    if flag.convert is None:
        if text.lower() not in ("0", "1", "false", "true", "no", "yes"):
            raise UsageError(expected(flag.variable, "0 or 1", repr(text)))
        return flag.value if text.lower() in ("1", "true", "yes") else None
    try:
        value = flag.convert(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{flag.variable}: {error}") from None
    if flag.choices and value not in flag.choices:
        raise UsageError(expected(flag.variable, "one of " + ", ".join(flag.choices), repr(text)))
    return [value] if flag.repeat else value


def _validated(spec: LaunchSpec) -> LaunchSpec:
    try:
        spec.ranks_per_host()
    except DtrainError as error:
        raise UsageError(str(error)) from None
    if spec.launcher != AUTO and (refusal := row_of(spec.launcher).load().refusal(spec)):
        raise UsageError(refusal)
    takers = [name for name, row in BACKENDS.items() if row.load().takes_address] if spec.address else [spec.launcher]
    if spec.launcher not in takers:
        wanted = f"--launcher {' or '.join(takers)} beside it"
        raise UsageError(expected("--address", wanted, f"--launcher {spec.launcher}"))
    return spec
