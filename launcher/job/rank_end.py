"""What is known of one rank's end, and the words for it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtrain.base.errors import PeerLostError
from dtrain.control.exit_codes import ENDED_BY_OPEN_MPI, code_of_signal
from dtrain.control.verdict import Failure

# What ranks raise because another one has failed: never the first cause, if there is any other.
CONSEQUENCE = PeerLostError.__name__


@dataclass(slots=True, kw_only=True)
class RankEnd:
    """How one rank is doing, and how it ended once it has."""

    rank: int
    host: str = ""
    pid: int = 0
    code: int | None = None
    signal: int = 0
    asked: bool = False  # it was told to end, so its end explains nothing
    lost: bool = False  # its supervisor went away without a word
    said: Failure | None = None  # what the rank itself reported it dies of
    faults: str = ""  # stacks from a hard crash
    stacks: str = ""  # asked for at a timeout, or why there are none
    collective_index: int = -1
    call_text: str = ""
    max_rss: int = 0  # bytes
    oom_kills: int = 0
    time: float = 0.0
    log: str = ""

    @property
    def has_ended(self) -> bool:
        return self.code is not None or self.signal != 0

    @property
    def has_failed(self) -> bool:
        """It ended by itself and not well."""
        return not self.asked and (self.signal != 0 or self.code not in (None, 0))

    @property
    def exit_code(self) -> int:
        return code_of_signal(self.signal) if self.signal else self.code or 0

    @property
    def kind(self) -> str:
        """The name of the exception that ended it, if one did."""
        return self.said.kind if self.said is not None else ""

    @property
    def text(self) -> str:
        """What the exception, or `sys.exit`, said."""
        return self.said.text if self.said is not None else ""

    @property
    def traceback(self) -> str:
        return self.said.traceback if self.said is not None else ""

    def failure(self) -> Failure:
        """All that is known of a bad end, for the verdict and its file."""
        return replace(
            self.said or Failure(kind="", text=""),
            rank=self.rank,
            host=self.host,
            pid=self.pid,
            exit_code=self.exit_code,
            signal=self.signal,
            lost=self.lost,
            faults=self.faults,
            collective_index=self.collective_index,
            call_text=self.call_text,
            max_rss=self.max_rss,
            oom_kills=self.oom_kills,
            time=self.time,
            log=self.log,
        )


def is_consequence(end: RankEnd) -> bool:
    """Perhaps it ended only because another rank did."""
    return end.lost or end.kind == CONSEQUENCE


def may_be_ended_by_mpi(end: RankEnd) -> bool:
    """Perhaps MPI ended it because another rank did, past Python: there is nothing but its exit code."""
    return end.exit_code == ENDED_BY_OPEN_MPI and not (end.kind or end.text or end.faults)


def cause(end: RankEnd) -> str:
    """`ValueError: bad data (exit code 1)`, `killed by SIGKILL (signal 9): …`, `exit code 3`."""
    if end.signal:
        name = signal_name(end.signal)
        return f"killed by {name} (signal {end.signal}){_likely_reason(end)}"
    if end.kind:
        message = end.text.strip().partition("\n")[0]
        return f"{end.kind}: {message} (exit code {end.code})" if message else f"{end.kind} (exit code {end.code})"
    if end.text:
        return f"exit code {end.code}: {end.text.strip().partition(chr(10))[0]}"  # sys.exit("a text")
    return f"exit code {end.code}"


def cause_of_all(end: RankEnd) -> str:
    """The cause in words that do not differ from rank to rank."""
    if end.kind == CONSEQUENCE:
        return f"{CONSEQUENCE} (exit code {end.code})"
    return re.sub(r"\[rank \d+/\d+\] ", "", cause(end), count=1)


def _likely_reason(end: RankEnd) -> str:
    if end.signal == signal.SIGKILL:
        if end.oom_kills:
            return ", most likely by the kernel for want of memory: its cgroup counted an out-of-memory kill"
        if end.lost:
            return ", or its host was lost: nothing was heard of it again"
        return ", sent by somebody: no out-of-memory kill was counted; look for kill -9 or a scheduler's limit"
    if end.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        return ", a crash in native code"
    if end.signal == signal.SIGABRT:
        return ", a native library gave up"
    return ""


def place_of(end: RankEnd) -> str:
    """`train.py:12`: the last line of the script in its traceback."""
    found = re.findall(r'^  File "(.*)", line (\d+)', end.traceback, re.MULTILINE)
    return f"{found[-1][0]}:{found[-1][1]}" if found else ""


def named_ranks(ends: Sequence[RankEnd]) -> str:
    """`rank 3`, `ranks 1, 2`, and of many the first eight."""
    ranks = sorted(end.rank for end in ends)
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    named = f"ranks {', '.join(map(str, ranks[:8]))}" if ranks else "no rank"
    return named + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")


def progress(end: RankEnd, now: float = 0.0) -> str:
    """`, collective 7 all_reduce`, with how long ago that was where `now` is given; "" where nothing is known."""
    if end.collective_index < 0:
        return ""
    at = f", collective {end.collective_index}" + (f" {end.call_text}" if end.call_text else "")
    return f"{at}, last seen {now - end.time:.1f} s ago" if now and end.time else at


def clock(seconds: float) -> str:
    """Seconds since the epoch as a local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "an unknown time"


def signal_name(number: int) -> str:
    """`SIGTERM`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "an unnamed signal"
