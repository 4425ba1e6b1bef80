"""What it means that the starter of the ranks, mpirun say, has ended and no rank's failure explains it."""

from __future__ import annotations

from dtrain.launcher.backends import Started
from dtrain.launcher.plan import LaunchPlan
from dtrain.launcher.roster import Roster
from dtrain.launcher.spec import LaunchSpec
from dtrain.launcher.verdict import JobVerdict, daemon_lost_verdict, silent_leaver_verdict, starter_left_verdict


def verdict_of_starter(
    plan: LaunchPlan, spec: LaunchSpec, roster: Roster, started: Started, *, is_running: bool
) -> JobVerdict:
    """A rank left for which it ended the job, or ranks did not come up, or a host of the job was lost."""
    starter = plan.launcher, started.poll() or 0, started.messages()
    if leavers := roster.left_without_a_word:
        return silent_leaver_verdict(*starter, leavers[0], roster.ends)
    if not is_running:
        hosts = [] if plan.all_local else [rank.host for rank in plan.ranks if rank.rank in roster.missing]
        return starter_left_verdict(*starter, missing=roster.missing, hosts=hosts)
    addresses = {rank: ready.address for rank, ready in roster.ready.items()}
    scheduler = spec.allocation.scheduler if spec.allocation is not None else ""
    return daemon_lost_verdict(*starter, roster.ends, addresses=addresses, scheduler=scheduler)
