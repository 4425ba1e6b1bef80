"""The last word of a job that failed: which rank, where, why, its traceback, and the same as JSON.

`RankEnd` is what is known of one rank's end; `JobVerdict` is words and exit code. Wording is pure, so it is tested as
text.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dtrain.base.errors import PeerLostError
from dtrain.base.exit_codes import COULD_NOT_START, RANKS_DISAGREE, TIMED_OUT

VerdictKind = Literal["failure", "mismatch", "timeout", "start", "interrupt"]

MEBI = 1 << 20

# How Open MPI 4 and 5 name the host of a daemon that they have lost, or whose ssh has ended.
_LOST_DAEMON = re.compile(r"(?:Remote daemon:\s.*\son node|Remote host:)\s+(\S+)")

# What ranks raise because another one has failed: never the first cause, if there is any other.
_CONSEQUENCE = PeerLostError.__name__


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
    exception: str = ""
    message: str = ""
    traceback: str = ""
    sides: tuple[str, ...] = ()  # of ranks that disagree: who called what
    faults: str = ""  # stacks from a hard crash
    stacks: str = ""  # stacks asked for at a timeout
    step: int = -1
    op: str = ""
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
        return 128 + self.signal if self.signal else self.code or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobVerdict:
    """Why a job ended, for people (`text`) and programs (`as_json`)."""

    kind: VerdictKind
    exit_code: int
    text: str
    ranks: tuple[int, ...] = ()
    first: RankEnd | None = None

    def as_json(self) -> str:
        """The failure file."""
        record = {"kind": self.kind, "exit_code": self.exit_code, "ranks": list(self.ranks), "text": self.text}
        return json.dumps(record | {"first": asdict(self.first) if self.first else None}, indent=2) + "\n"

    def write(self, folder: str) -> Path:
        """Write `failure.json` into a folder, which is made if need be."""
        path = Path(folder) / "failure.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.as_json())
        return path


def culprit_and_others(failures: Sequence[RankEnd]) -> tuple[RankEnd, list[RankEnd]]:
    """Of failures in the order they were learnt: the first that is no consequence of another, and the rest."""
    first = next((end for end in failures if end.exception != _CONSEQUENCE), failures[0])
    return first, [end for end in failures if end is not first]


def is_consequence(end: RankEnd) -> bool:
    """Perhaps it ended only because another rank did."""
    return end.lost or end.exception == _CONSEQUENCE


def _also(first: RankEnd, others: Sequence[RankEnd]) -> list[str]:
    """One line for all ranks that ended for the same reason, with where each place in the script is."""
    by_cause: dict[str, list[RankEnd]] = {}
    for end in others:
        by_cause.setdefault(_cause_of_all(end), []).append(end)
    lines: list[str] = []
    for text, ends in by_cause.items():
        reason = "the same error" if text == _cause_of_all(first) else text
        named = _ranks(ends)
        hosts = sorted({end.host or "unknown" for end in ends})
        on = f" on {hosts[0]}" if len(hosts) == 1 else ""
        places = sorted({place for end in ends if (place := _place(end))})
        at = f" at {', '.join(places[:4])}" if places else ""
        lines.append(f"  also: {named}{on}: {reason}{at}")
    return lines


def _ended_by(scheduler: str) -> str:
    return f"  {scheduler} may have ended the job: cancelled, over its time limit, or a node failed"


def _ranks(ends: Sequence[RankEnd]) -> str:
    """`rank 3`, `ranks 1, 2`, and of many the first eight."""
    ranks = sorted(end.rank for end in ends)
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    named = f"ranks {', '.join(map(str, ranks[:8]))}" if ranks else "no rank"
    return named + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")


def _cause_of_all(end: RankEnd) -> str:
    """The cause in words that do not differ from rank to rank."""
    if end.exception == _CONSEQUENCE:
        return f"{_CONSEQUENCE} (exit code {end.code})"
    return re.sub(r"\[rank \d+/\d+\] ", "", cause(end), count=1)


def _place(end: RankEnd) -> str:
    """`train.py:12`: the last line of the script in its traceback."""
    found = re.findall(r'^  File "(.*)", line (\d+)', end.traceback, re.MULTILINE)
    return f"{found[-1][0]}:{found[-1][1]}" if found else ""


def failure_verdict(
    first: RankEnd, size: int, others: Sequence[RankEnd] = (), *, starter: str = "", said: str = "", scheduler: str = ""
) -> JobVerdict:
    """One rank ended badly and took the job with it. `said` is what the starter wrote, where the rank could not."""
    lines = [
        f"rank {first.rank} of {size} failed: {cause(first)}",
        f"  host {first.host or 'unknown'}, pid {first.pid or 'unknown'}, at {_clock(first.time)}{_progress(first)}",
    ]
    if first.sides:
        lines += ["  who called what:", *(f"  {side}" for side in first.sides)]
    if first.max_rss:
        lines.append(f"  peak memory {first.max_rss / MEBI:.0f} MiB")
    last_words = "" if first.exception or "\n" not in first.message.strip() else first.message
    for name, text in (
        ("last words", last_words),
        ("traceback", first.traceback),
        ("stacks at the crash", first.faults),
    ):
        if text:
            lines += [f"  its {name}:", *indented(text)]
    if not first.traceback and not first.faults:
        lines.append("  no Python traceback: it did not end by an exception")
    lines += _also(first, [end for end in others if end.has_failed and end.rank != first.rank])
    if said:
        lines += [f"  {starter} said:", *indented(said)]
    if first.log:
        lines.append(f"  log: {first.log}")
    if first.lost and scheduler:
        lines.append(_ended_by(scheduler))
    lines.append("  all other ranks were stopped")
    return JobVerdict(kind="failure", exit_code=first.exit_code, text=block(lines), ranks=(first.rank,), first=first)


def cause(end: RankEnd) -> str:
    """`ValueError: bad data (exit code 1)`, `killed by SIGKILL (signal 9): …`, `exit code 3`."""
    if end.signal:
        name = _signal_name(end.signal)
        return f"killed by {name} (signal {end.signal}){_likely_reason(end)}"
    if end.exception:
        message = end.message.strip().partition("\n")[0]
        return (
            f"{end.exception}: {message} (exit code {end.code})"
            if message
            else f"{end.exception} (exit code {end.code})"
        )
    if end.message:
        return f"exit code {end.code}: {end.message.strip().partition(chr(10))[0]}"  # sys.exit("a text")
    return f"exit code {end.code}"


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


def early_leaver_verdict(leaver: RankEnd, size: int, waiting: Sequence[int]) -> JobVerdict:
    """A rank ended well, but others can never go on: no failure of its own, so the code of a mismatch."""
    names = f"rank {waiting[0]} waits" if len(waiting) == 1 else f"ranks {', '.join(map(str, waiting))} wait"
    lines = [
        f"rank {leaver.rank} of {size} ended with exit code 0 before dist.init(), in which {names} for it",
        f"  host {leaver.host or 'unknown'}, pid {leaver.pid or 'unknown'}, at {_clock(leaver.time)}",
        "  call dist.init() on every rank, before any rank may leave its script; or start fewer ranks",
        "  all other ranks were stopped",
    ]
    return JobVerdict(kind="mismatch", exit_code=RANKS_DISAGREE, text=block(lines), ranks=(leaver.rank,), first=leaver)


def nothing_exchanged_note(size: int) -> str:
    """For a job that ended well and was perhaps not what its user meant."""
    return (
        f"dtrain: note: no collective ran in this job: its {size} ranks exchanged nothing, as if each had run alone; "
        "to train one model together, call dist.init() and wrap the model in dist.data_parallel()\n"
    )


def timeout_verdict(seconds: float, ends: Sequence[RankEnd], now: float) -> JobVerdict:
    """The job took too long: how far each rank is, and where it stands."""
    lines = [f"timeout: the job ran longer than {seconds:g} s"]
    running = [end for end in ends if not end.has_ended]
    for end in ends:
        state = f"ended with {cause(end)}" if end.has_ended else f"running{_progress(end, now)}"
        lines.append(f"  rank {end.rank} on {end.host}: {state}")
    known = [end for end in running if end.step >= 0]
    if known and len({(end.step, end.op) for end in known}) > 1:
        slowest = min(known, key=lambda end: end.step)
        lines.append(f"  furthest behind: rank {slowest.rank}, step {slowest.step} {slowest.op}".rstrip())
    for end in running:
        stacks = end.stacks or "no answer: it is stopped, or was still starting"
        lines += [f"  rank {end.rank} stands at (newest call first):", *indented(stacks)]
    ranks = tuple(end.rank for end in running)
    return JobVerdict(kind="timeout", exit_code=TIMED_OUT, text=block(lines), ranks=ranks)


def silent_leaver_verdict(starter: str, status: int, said: str, leaver: RankEnd, ends: Sequence[RankEnd]) -> JobVerdict:
    """A rank left past MPI's and Python's end, for which the starter ended the job."""
    stopped = [end for end in ends if end.exit_code != 0]
    lines = [
        f"rank {leaver.rank} of {len(ends)} left with exit code 0, past the end of Python and of MPI",
        f"  host {leaver.host or 'unknown'}, pid {leaver.pid or 'unknown'}, at {_clock(leaver.time)}"
        + _progress(leaver),
        *(f"  then stopped: rank {end.rank}{_progress(end)}".rstrip() for end in stopped[:8]),
        "  let its script end, or raise SystemExit: os._exit(0) skips what the other ranks wait for",
        f"  {starter} said:",
        *indented(said),
    ]
    code = (128 - status if status < 0 else status) or 1
    return JobVerdict(kind="failure", exit_code=code, text=block(lines), ranks=(leaver.rank,), first=leaver)


def start_verdict(lines: Sequence[str]) -> JobVerdict:
    """Not all ranks came up."""
    return JobVerdict(kind="start", exit_code=COULD_NOT_START, text=block(["could not start", *lines]))


def starter_left_verdict(
    starter: str, status: int, said: str, *, missing: Sequence[int], hosts: Sequence[str] = ()
) -> JobVerdict:
    """What started the ranks is gone before the `missing` ones came up; `hosts` of theirs, where others than ours."""
    code = 128 - status if status < 0 else status
    names = f"ranks {', '.join(map(str, missing))}" if missing else "no rank"
    where = f" on {', '.join(dict.fromkeys(hosts))}" if hosts else ""
    lines = [f"  {starter} left with code {code} before {names}{where} came up; it said:", *indented(said)]
    if hosts:
        lines.append("  every host needs the same environment at the same path, and a way to this one")
    return start_verdict(lines)


def daemon_lost_verdict(
    starter: str, status: int, said: str, ends: Sequence[RankEnd], *, addresses: Mapping[int, str], scheduler: str = ""
) -> JobVerdict:
    """The starter ended a running job though no rank had failed: its daemon on a host, or the way to it, is gone.

    `addresses` is where each rank's host is seen: the starter may know it by that. `scheduler` may own the job.
    """
    running = [end for end in ends if not end.has_ended or end.asked]
    named = set(_LOST_DAEMON.findall(said))
    on_lost = [end for end in running if named & {end.host, end.host.partition(".")[0], addresses.get(end.rank, "")}]
    lost = on_lost or running
    hosts = list(dict.fromkeys(end.host or "unknown" for end in lost))
    if on_lost:
        first = (
            f"{_ranks(lost)} of {len(ends)} lost: {starter}'s daemon on {', '.join(hosts)} is gone, or the way to it"
        )
    else:
        first = f"{starter} ended the job while {_ranks(lost)} of {len(ends)} ran on {', '.join(hosts)}"
    lines = [first, *(f"  rank {end.rank} on {end.host}, pid {end.pid}{_progress(end)}" for end in lost[:8])]
    if len(lost) > 8:
        lines.append(f"  and {len(lost) - 8} more")
    if scheduler:
        lines.append(_ended_by(scheduler))
    lines += [f"  {starter} said:", *indented(said or "nothing"), "  all other ranks were stopped"]
    code = (128 - status if status < 0 else status) or 1
    ranks = tuple(end.rank for end in lost)
    return JobVerdict(kind="failure", exit_code=code, text=block(lines), ranks=ranks, first=lost[0] if lost else None)


def start_timed_out_verdict(
    starter: str, seconds: float, said: str, *, missing: Sequence[int], up: Sequence[str]
) -> JobVerdict:
    """Some ranks did not come up in time."""
    lines = [f"  after {seconds:g} s these ranks had not come up: {', '.join(map(str, missing))}"]
    lines += [f"  up: {rank}" for rank in up]
    if said:
        lines += [f"  {starter} said:", *indented(said)]
    lines.append("  check that every host can be reached and can reach this one, or raise --start-timeout")
    return start_verdict(lines)


def interrupt_verdict(number: int) -> JobVerdict:
    """Somebody stopped the launcher by a signal."""
    text = block([f"stopped by {_signal_name(number)}: all ranks were told to end"])
    return JobVerdict(kind="interrupt", exit_code=128 + number, text=text)


def block(lines: Sequence[str]) -> str:
    """Lines between rulers that catch the eye in a long log."""
    first, *rest = lines
    return "\n".join(["-" * 72, f"dtrain: {first}", *rest, "-" * 72]) + "\n"


def indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.rstrip().splitlines()]


def _progress(end: RankEnd, now: float = 0.0) -> str:
    if end.step < 0:
        return ""
    at = f", step {end.step}" + (f" {end.op}" if end.op else "")
    return f"{at}, last seen {now - end.time:.1f} s ago" if now and end.time else at


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "an unnamed signal"


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "an unknown time"
