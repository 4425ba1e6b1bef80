"""The last word of a job that failed: which rank, where, why, its traceback, made of what is known of each rank's end.

Wording is pure, so it is tested as text. Verdicts about what started the ranks stand in `backend_verdicts.py`.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from dtrain.control.exit_codes import RANKS_DISAGREE, TIMED_OUT, code_of_signal
from dtrain.control.verdict import Verdict
from dtrain.launcher.job.rank_end import (
    CONSEQUENCE,
    RankEnd,
    cause,
    cause_of_all,
    clock,
    may_be_ended_by_mpi,
    named_ranks,
    place_of,
    progress,
    signal_name,
)

MEBI = 1 << 20


_CONTROL_CHARACTERS = {
    number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in "\n\t"
}


def culprit_and_others(
    failures: Sequence[RankEnd], *, killed_follow: bool = False, named: int | None = None
) -> tuple[RankEnd, list[RankEnd]]:
    """Of failures in the order they were learnt: the first that is no consequence of another, and the rest.

    `killed_follow`: ranks may have been killed for any other's end, of which that of rank `named` came first, or MPI
    may have ended them for it.
    """

    def weight(end: RankEnd) -> int:
        if end.kind == CONSEQUENCE:
            return 5
        if killed_follow and may_be_ended_by_mpi(end):
            return 4
        if not (killed_follow and end.signal == signal.SIGKILL):
            return 0
        return 1 if end.rank == named else 3 if end.lost else 2

    first = min(failures, key=weight)  # the earliest of equal ones
    return first, [end for end in failures if end is not first]


def _also(first: RankEnd, others: Sequence[RankEnd]) -> list[str]:
    """One line for all ranks that ended for the same reason, with where each place in the script is."""
    by_cause: dict[str, list[RankEnd]] = {}
    for end in others:
        by_cause.setdefault(cause_of_all(end), []).append(end)
    lines: list[str] = []
    for text, ends in by_cause.items():
        reason = "the same error" if text == cause_of_all(first) else text
        named = named_ranks(ends)
        hosts = sorted({end.host or "unknown" for end in ends})
        on = f" on {hosts[0]}" if len(hosts) == 1 else ""
        places = sorted({place for end in ends if (place := place_of(end))})
        at = f" at {', '.join(places[:4])}" if places else ""
        lines.append(f"  also: {named}{on}: {reason}{at}")
    return lines


def ended_by(scheduler: str) -> str:
    """A line for a job whose batch system may be behind its end."""
    return f"  {scheduler} may have ended the job: cancelled, over its time limit, or a node failed"


def failure_verdict(
    first: RankEnd, size: int, others: Sequence[RankEnd] = (), *, backend: str = "", said: str = "", scheduler: str = ""
) -> Verdict:
    """One rank ended badly and took the job with it. `said` is what the backend wrote, where the rank could not."""
    lines = [
        f"rank {first.rank} of {size} failed: {cause(first)}",
        f"  host {first.host or 'unknown'}, pid {first.pid or 'unknown'}, at {clock(first.time)}{progress(first)}",
    ]
    if first.said is not None and first.said.sides:
        lines += ["  who called what:", *(f"  {side}" for side in first.said.sides)]
    if first.max_rss:
        lines.append(f"  peak memory {first.max_rss / MEBI:.0f} MiB")
    last_words = "" if first.kind or "\n" not in first.text.strip() else first.text
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
        lines += [f"  {backend} said:", *indented(said)]
    if first.log:
        lines.append(f"  log: {first.log}")
    if first.lost and scheduler:
        lines.append(ended_by(scheduler))
    lines.append("  all other ranks were stopped")
    return Verdict(
        kind="failure", exit_code=first.exit_code, text=block(lines), ranks=(first.rank,), first=first.failure()
    )


def early_leaver_verdict(leaver: RankEnd, size: int, waiting: Sequence[int]) -> Verdict:
    """A rank ended well, but others can never go on: no failure of its own, so the code of a mismatch."""
    names = f"rank {waiting[0]} waits" if len(waiting) == 1 else f"ranks {', '.join(map(str, waiting))} wait"
    lines = [
        f"rank {leaver.rank} of {size} ended with exit code 0 before dist.init(), in which {names} for it",
        f"  host {leaver.host or 'unknown'}, pid {leaver.pid or 'unknown'}, at {clock(leaver.time)}",
        "  call dist.init() on every rank, before any rank may leave its script; or start fewer ranks",
        "  all other ranks were stopped",
    ]
    return Verdict(
        kind="mismatch", exit_code=RANKS_DISAGREE, text=block(lines), ranks=(leaver.rank,), first=leaver.failure()
    )


def nothing_exchanged_note(size: int, *, have_joined: bool) -> str:
    """For a job that ended well and was perhaps not what its user meant; `have_joined`: they called dist.init()."""
    missing = "wrap the model" if have_joined else "call dist.init() and wrap the model"
    return (
        f"dtrain: note: no collective ran in this job: its {size} ranks exchanged nothing, as if each had run alone; "
        f"to train one model together, {missing} in dist.data_parallel()\n"
    )


def timeout_verdict(seconds: float, ends: Sequence[RankEnd], now: float) -> Verdict:
    """The job took too long: how far each rank is, and where it stands."""
    lines = [f"timeout: the job ran longer than {seconds:g} s"]
    running = [end for end in ends if not end.has_ended]
    for end in ends:
        state = f"ended with {cause(end)}" if end.has_ended else f"running{progress(end, now)}"
        lines.append(f"  rank {end.rank} on {end.host}: {state}")
    known = [end for end in running if end.collective_index >= 0]
    if known and len({(end.collective_index, end.call_text) for end in known}) > 1:
        slowest = min(known, key=lambda end: end.collective_index)
        lines.append(f"  furthest behind: rank {slowest.rank}{progress(slowest)}".rstrip())
    for end in running:
        stacks = end.stacks or "no answer: neither of it nor of its supervisor"
        lines += [f"  rank {end.rank} stands at (newest call first):", *indented(stacks)]
    ranks = tuple(end.rank for end in running)
    return Verdict(kind="timeout", exit_code=TIMED_OUT, text=block(lines), ranks=ranks)


def interrupt_verdict(number: int) -> Verdict:
    """Somebody stopped the launcher by a signal."""
    text = block([f"stopped by {signal_name(number)}: all ranks were told to end"])
    return Verdict(kind="interrupt", exit_code=code_of_signal(number), text=text)


def block(lines: Sequence[str]) -> str:
    """Lines between rulers that catch the eye in a long log. What moves a terminal's cursor is spelled out."""
    first, *rest = lines
    text = "\n".join(["-" * 72, f"dtrain: {first}", *rest, "-" * 72]) + "\n"
    return text.translate(_CONTROL_CHARACTERS)


def indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.rstrip().splitlines()]
