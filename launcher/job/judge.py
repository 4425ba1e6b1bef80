"""Is the job over, and why? Asked in every turn of the job's loop, in the order of what weighs most."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass

from dtrain.control.verdict import Verdict
from dtrain.launcher.backends.backend import Backend, Started
from dtrain.launcher.job.backend_verdicts import (
    backend_left_verdict,
    daemon_lost_verdict,
    lost_with_their_host,
    silent_leaver_verdict,
    start_timed_out_verdict,
)
from dtrain.launcher.job.rank_end import RankEnd, is_consequence, may_be_ended_by_mpi
from dtrain.launcher.job.roster import Roster
from dtrain.launcher.job.verdict import (
    culprit_and_others,
    early_leaver_verdict,
    failure_verdict,
    nothing_exchanged_note,
)
from dtrain.launcher.plan.launch_plan import LaunchPlan
from dtrain.launcher.plan.spec import LaunchSpec

SETTLE = 0.1  # seconds after the first bad end, so that reports on their way are part of the verdict
BACKENDS_WORD = 2.0  # seconds after a bad end that nothing explains, for what started the ranks to say why
LAST_REPORTS = 1.0  # for ranks to say how they ended, once what started them is gone
BACKEND_PATIENCE = 5.0  # for what started the ranks to end, once they have


@dataclass(frozen=True, slots=True)
class Outcome:
    """The job is over: badly for the reason of the `verdict`, or well, perhaps with a `note`."""

    verdict: Verdict | None
    note: str = ""


class Judge:
    """Looks at the roster, at what started the ranks and at the clock."""

    def __init__(
        self, plan: LaunchPlan, spec: LaunchSpec, roster: Roster, started: Started, backend: type[Backend]
    ) -> None:
        self._plan = plan
        self._backend = backend
        self._spec = spec
        self._roster = roster
        self._started = started
        self._begin = time.monotonic()
        self._failed_at = self._ended_at = self._left_at = self._backend_gone_at = math.inf

    def look(self, now: float, running_since: float) -> Outcome | None:
        """The outcome at the time `now`, or None while the job goes on. Scripts run since `running_since`."""
        roster = self._roster
        is_running = running_since < math.inf
        if roster.failures:
            self._failed_at = min(self._failed_at, now)
            return Outcome(self._failure()) if self._has_heard_enough(now) else None
        if roster.all_ended:
            self._ended_at = min(self._ended_at, now)
            has_waited = now >= self._ended_at + BACKEND_PATIENCE
            return self._all_ended() if has_waited or self._started.poll() is not None else None
        leavers = roster.early_leavers
        self._left_at = min(self._left_at, now) if leavers else math.inf
        if now >= self._left_at + SETTLE:
            return Outcome(early_leaver_verdict(leavers[0], self._plan.size, roster.waiting_to_join))
        if self._started.poll() is not None:
            self._backend_gone_at = min(self._backend_gone_at, now)
            # Who is still connected has a report to give; it says more than what the backend makes of it.
            patience = LAST_REPORTS if roster.supervisors and is_running else 2 * SETTLE
            if now >= self._backend_gone_at + patience:
                return Outcome(self._backend_left(is_running))
        if not is_running and now - self._begin > self._spec.start_timeout:
            return Outcome(self._start_timed_out())
        return None

    def _has_heard_enough(self, now: float) -> bool:
        """Of a failure. What starts ranks on other hosts may know more than a rank that left by a bare exit code."""
        first, _ = self._culprit_and_others()
        if first.signal == signal.SIGKILL and self._backend.kills_without_a_word:
            # The others are on their way out too, and what killed them may tell for whose end.
            has_said_all = self._roster.all_ended and self._started.poll() is not None
            return has_said_all or now >= self._failed_at + BACKENDS_WORD
        is_explained = bool(first.kind or first.text or first.signal) and not is_consequence(first)
        if not (self._plan.all_local or is_explained or self._started.poll() is not None):
            return now >= self._failed_at + BACKENDS_WORD
        return now >= self._failed_at + SETTLE or self._roster.all_ended

    def _culprit_and_others(self) -> tuple[RankEnd, list[RankEnd]]:
        if not self._backend.kills_without_a_word:
            return culprit_and_others(self._roster.failures)
        named = self._backend.first_lost(self._started.messages()) if self._roster.all_ended else None
        return culprit_and_others(self._roster.failures, killed_follow=True, named=named)

    def _failure(self) -> Verdict:
        first, others = self._culprit_and_others()
        if self._has_lost_the_daemon_of(first):
            return self._daemon_lost()
        leavers = [end for end in self._roster.left_without_a_word if end.time <= first.time or not first.time]
        if leavers and is_consequence(first):
            return silent_leaver_verdict(*self._backends_word(), leavers[0], self._roster.ends)
        said = self._started.messages() if first.lost else ""
        names = {"backend": self._plan.backend, "scheduler": self._scheduler}
        return failure_verdict(first, self._plan.size, others, said=said, **names)

    def _all_ended(self) -> Outcome:
        """None failed by itself; what the backend says counts only if ranks were told to end by it."""
        if self._started.poll() in (0, None) and not self._roster.unexplained:
            if not self._roster.nobody_exchanged:
                return Outcome(None, "")
            return Outcome(None, nothing_exchanged_note(self._plan.size, have_joined=self._roster.all_joined))
        return Outcome(self._backend_left(is_running=True))

    def _backend_left(self, is_running: bool) -> Verdict:
        if leavers := self._roster.left_without_a_word:
            return silent_leaver_verdict(*self._backends_word(), leavers[0], self._roster.ends)
        roster = self._roster
        if not is_running:
            absent = [] if self._plan.all_local else [one for one in self._plan.ranks if one.rank in roster.missing]
            return backend_left_verdict(
                *self._backends_word(), missing=roster.missing, hosts=[one.host for one in absent]
            )
        return self._daemon_lost()

    def _has_lost_the_daemon_of(self, first: RankEnd) -> bool:
        """MPI ends ranks whose daemon is gone, with a bare exit code; others lose them as peers."""
        if first.faults or (first.traceback and not is_consequence(first)) or (first.signal and not first.lost):
            return False
        lost = self._on_lost_hosts()
        return bool(lost) and (is_consequence(first) or may_be_ended_by_mpi(first) or first in lost)

    def _daemon_lost(self) -> Verdict:
        return daemon_lost_verdict(
            *self._backends_word(),
            self._roster.ends,
            on_lost_hosts=self._on_lost_hosts(),
            scheduler=self._scheduler,
        )

    def _on_lost_hosts(self) -> list[RankEnd]:
        """The ranks on hosts of which the backend says that it has lost them."""
        hosts = self._backend.lost_hosts(self._started.messages())
        addresses = {rank: ready.address for rank, ready in self._roster.ready.items()}
        return lost_with_their_host(hosts, self._roster.ends, addresses)

    @property
    def _scheduler(self) -> str:
        """The batch system that owns the job, if one does."""
        return self._spec.allocation.scheduler if self._spec.allocation is not None else ""

    def _backends_word(self) -> tuple[str, int, str]:
        return self._plan.backend, self._started.poll() or 0, self._started.messages()

    def _start_timed_out(self) -> Verdict:
        return start_timed_out_verdict(
            self._plan.backend,
            self._spec.start_timeout,
            self._started.messages(),
            missing=self._roster.missing,
            up=[f"rank {rank.rank} on {rank.host}" for rank in self._roster.ready.values()],
        )
