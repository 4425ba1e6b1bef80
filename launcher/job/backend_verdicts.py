"""Last words about what started the ranks: it could not, it left, it lost its daemon on a host, or it ended the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from dtrain.control.exit_codes import COULD_NOT_START, code_of_status
from dtrain.control.verdict import Verdict
from dtrain.launcher.job.rank_end import RankEnd, clock, named_ranks, progress
from dtrain.launcher.job.verdict import block, ended_by, indented


def start_verdict(lines: Sequence[str]) -> Verdict:
    """Not all ranks came up."""
    return Verdict(kind="start", exit_code=COULD_NOT_START, text=block(["could not start", *lines]))


def backend_left_verdict(
    backend: str, status: int, said: str, *, missing: Sequence[int], hosts: Sequence[str] = ()
) -> Verdict:
    """What started the ranks is gone before the `missing` ones came up; `hosts` of theirs, where others than ours."""
    code = code_of_status(status)
    names = f"ranks {', '.join(map(str, missing))}" if missing else "no rank"
    where = f" on {', '.join(dict.fromkeys(hosts))}" if hosts else ""
    lines = [f"  {backend} left with code {code} before {names}{where} came up; it said:", *indented(said)]
    if hosts:
        lines.append("  every host needs the same environment at the same path, and a way to this one")
    return start_verdict(lines)


def start_timed_out_verdict(
    backend: str, seconds: float, said: str, *, missing: Sequence[int], up: Sequence[str]
) -> Verdict:
    """Some ranks did not come up in time."""
    lines = [f"  after {seconds:g} s these ranks had not come up: {', '.join(map(str, missing))}"]
    lines += [f"  up: {rank}" for rank in up]
    if said:
        lines += [f"  {backend} said:", *indented(said)]
    lines.append("  check that every host can be reached and can reach this one, or raise --start-timeout")
    return start_verdict(lines)


def silent_leaver_verdict(backend: str, status: int, said: str, leaver: RankEnd, ends: Sequence[RankEnd]) -> Verdict:
    """A rank left past MPI's and Python's end, for which the backend ended the job."""
    stopped = [end for end in ends if end.exit_code != 0]
    lines = [
        f"rank {leaver.rank} of {len(ends)} left with exit code 0, past the end of Python and of MPI",
        f"  host {leaver.host or 'unknown'}, pid {leaver.pid or 'unknown'}, at {clock(leaver.time)}" + progress(leaver),
        *(f"  then stopped: rank {end.rank}{progress(end)}".rstrip() for end in stopped[:8]),
        "  let its script end, or raise SystemExit: os._exit(0) skips what the other ranks wait for",
        f"  {backend} said:",
        *indented(said),
    ]
    code = code_of_status(status) or 1
    return Verdict(kind="failure", exit_code=code, text=block(lines), ranks=(leaver.rank,), first=leaver.failure())


def lost_with_their_host(hosts: Set[str], ends: Sequence[RankEnd], addresses: Mapping[int, str]) -> list[RankEnd]:
    """The ranks on `hosts` that the backend has lost, but for those that had ended well.

    `addresses` is where each rank's host is seen: the backend may know it by that.
    """
    return [
        end
        for end in ends
        if hosts & {end.host, end.host.partition(".")[0], addresses.get(end.rank, "")} and (end.code != 0 or end.asked)
    ]


def daemon_lost_verdict(
    backend: str,
    status: int,
    said: str,
    ends: Sequence[RankEnd],
    *,
    on_lost_hosts: Sequence[RankEnd] = (),
    scheduler: str = "",
) -> Verdict:
    """The backend ended a running job though no rank had failed first: its daemon on a host, or the way to it, is gone.

    `on_lost_hosts` are the ranks where it says that it is; `scheduler` may own the job.
    """
    lost = on_lost_hosts or [end for end in ends if not end.has_ended or end.asked]
    hosts = list(dict.fromkeys(end.host or "unknown" for end in lost))
    if on_lost_hosts:
        what = f"{backend}'s daemon on {', '.join(hosts)} is gone, or the way to it"
        first = f"{named_ranks(lost)} of {len(ends)} lost: {what}"
    else:
        first = f"{backend} ended the job while {named_ranks(lost)} of {len(ends)} ran on {', '.join(hosts)}"
    lines = [first, *(f"  rank {end.rank} on {end.host}, pid {end.pid}{progress(end)}" for end in lost[:8])]
    if len(lost) > 8:
        lines.append(f"  and {len(lost) - 8} more")
    if scheduler:
        lines.append(ended_by(scheduler))
    lines += [f"  {backend} said:", *indented(said or "nothing"), "  all other ranks were stopped"]
    code = code_of_status(status) or 1
    ranks = tuple(end.rank for end in lost)
    first_failure = lost[0].failure() if lost else None
    return Verdict(kind="failure", exit_code=code, text=block(lines), ranks=ranks, first=first_failure)
