"""Last words about what started the ranks: it could not, it left, it lost its daemon on a host, or it ended the job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dtrain.control.exit_codes import COULD_NOT_START
from dtrain.launcher.job.rank_end import RankEnd, clock, named_ranks, progress
from dtrain.launcher.job.verdict import JobVerdict, block, ended_by, indented

# How Open MPI 4 and 5 name the host of a daemon that they have lost, or whose ssh has ended.
_LOST_DAEMON = re.compile(r"(?:Remote daemon:\s.*\son node|Remote host:)\s+(\S+)")


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


def silent_leaver_verdict(starter: str, status: int, said: str, leaver: RankEnd, ends: Sequence[RankEnd]) -> JobVerdict:
    """A rank left past MPI's and Python's end, for which the starter ended the job."""
    stopped = [end for end in ends if end.exit_code != 0]
    lines = [
        f"rank {leaver.rank} of {len(ends)} left with exit code 0, past the end of Python and of MPI",
        f"  host {leaver.host or 'unknown'}, pid {leaver.pid or 'unknown'}, at {clock(leaver.time)}" + progress(leaver),
        *(f"  then stopped: rank {end.rank}{progress(end)}".rstrip() for end in stopped[:8]),
        "  let its script end, or raise SystemExit: os._exit(0) skips what the other ranks wait for",
        f"  {starter} said:",
        *indented(said),
    ]
    code = (128 - status if status < 0 else status) or 1
    return JobVerdict(kind="failure", exit_code=code, text=block(lines), ranks=(leaver.rank,), first=leaver)


def lost_with_their_daemon(said: str, ends: Sequence[RankEnd], addresses: Mapping[int, str]) -> list[RankEnd]:
    """The ranks on hosts whose daemon the starter `said` it has lost, but for those that had ended well.

    `addresses` is where each rank's host is seen: the starter may know it by that.
    """
    named = set(_LOST_DAEMON.findall(said))
    return [
        end
        for end in ends
        if named & {end.host, end.host.partition(".")[0], addresses.get(end.rank, "")} and (end.code != 0 or end.asked)
    ]


def daemon_lost_verdict(
    starter: str, status: int, said: str, ends: Sequence[RankEnd], *, addresses: Mapping[int, str], scheduler: str = ""
) -> JobVerdict:
    """The starter ended a running job though no rank had failed first: its daemon on a host, or the way to it, is gone.

    `addresses` as in `lost_with_their_daemon`; `scheduler` may own the job.
    """
    on_lost = lost_with_their_daemon(said, ends, addresses)
    lost = on_lost or [end for end in ends if not end.has_ended or end.asked]
    hosts = list(dict.fromkeys(end.host or "unknown" for end in lost))
    if on_lost:
        what = f"{starter}'s daemon on {', '.join(hosts)} is gone, or the way to it"
        first = f"{named_ranks(lost)} of {len(ends)} lost: {what}"
    else:
        first = f"{starter} ended the job while {named_ranks(lost)} of {len(ends)} ran on {', '.join(hosts)}"
    lines = [first, *(f"  rank {end.rank} on {end.host}, pid {end.pid}{progress(end)}" for end in lost[:8])]
    if len(lost) > 8:
        lines.append(f"  and {len(lost) - 8} more")
    if scheduler:
        lines.append(ended_by(scheduler))
    lines += [f"  {starter} said:", *indented(said or "nothing"), "  all other ranks were stopped"]
    code = (128 - status if status < 0 else status) or 1
    ranks = tuple(end.rank for end in lost)
    return JobVerdict(kind="failure", exit_code=code, text=block(lines), ranks=ranks, first=lost[0] if lost else None)
