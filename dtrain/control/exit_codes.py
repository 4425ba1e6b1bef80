"""What `dtrain` ends with, in one table: whoever ends with one takes it here, and the documentation is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from signal import SIGPIPE

from dtrain.base.errors import CollectiveMismatchError


@dataclass(frozen=True, slots=True)
class ExitCode:
    """`code` is a number, or how it comes about."""

    code: int | str
    meaning: str
    what_to_do: str


FAILED = 1
WRONG_USAGE = 2
RANKS_DISAGREE = CollectiveMismatchError.exit_code
TIMED_OUT = 124
COULD_NOT_START = 125
INTERRUPTED = 130
ENDED_BY_OPEN_MPI = 14  # MPI_ERR_UNKNOWN: its own handler, where PMIx tells it that the connection of a peer broke
CONNECTION_LOST = 255  # as ssh has it; what Ray's agent ends with, which stands in for ssh

EXIT_CODES = (
    ExitCode(0, "all ranks ended with 0", ""),
    ExitCode(
        "the rank's own",
        "the code of the first rank that failed; 1 for an uncaught exception",
        "the verdict above shows which rank, where, and its traceback",
    ),
    ExitCode("128 + s", "the first rank that failed was killed by signal s", "137 often is: out of memory"),
    ExitCode(WRONG_USAGE, "the command line cannot be understood", "`dtrain run --help`"),
    ExitCode(
        RANKS_DISAGREE,
        "ranks ran different collectives or went through different data, or one left before `dist.init()`",
        "the verdict shows the first difference",
    ),
    ExitCode(TIMED_OUT, "`--timeout` is over, or a collective waited too long", "every rank's stack is shown"),
    ExitCode(COULD_NOT_START, "the ranks could not be started", "`dtrain doctor`"),
    ExitCode(INTERRUPTED, "Ctrl-C", ""),
)


def code_of_signal(number: int) -> int:
    """What a process that a signal ended counts as having returned, in every shell."""
    return 128 + number


BROKEN_PIPE = code_of_signal(SIGPIPE)


def code_of_status(status: int) -> int:
    """A return code as `subprocess` has it, where −s is a signal's, as an exit code."""
    return code_of_signal(-status) if status < 0 else status
