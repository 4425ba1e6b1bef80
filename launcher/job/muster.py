"""From the first rank that comes up to the moment when the scripts are let loose: wait for all, tell each its place."""

from __future__ import annotations

import math
import time

from dtrain.base.network import address_towards, is_loopback, own_addresses
from dtrain.control.messages import Input, Ready, Start, Stop
from dtrain.control.peer import Peer
from dtrain.control.server import ControlServer
from dtrain.launcher.job.journal import Journal
from dtrain.launcher.job.output_thread import OutputThreads, credit_of_rank
from dtrain.launcher.job.roster import Roster
from dtrain.launcher.job.standard_input import StandardInput
from dtrain.launcher.plan.launch_plan import LaunchPlan
from dtrain.launcher.plan.machine import network_address
from dtrain.launcher.plan.placement import KnownRank, PlacedRank, place, rank_environment
from dtrain.launcher.plan.screen import Words, show_start
from dtrain.launcher.plan.spec import LaunchSpec

RANK_GRACE = 1.0  # seconds a rank has to end once it is told to, where the user names none


class Muster:
    """`running_since` (monotonic) is infinite until all ranks have come up and their scripts run."""

    def __init__(
        self,
        plan: LaunchPlan,
        spec: LaunchSpec,
        roster: Roster,
        output: OutputThreads,
        journal: Journal,
        *,
        passes_input: bool,
    ) -> None:
        """`passes_input`: rank 0 has our standard input already."""
        self.running_since = math.inf
        self._plan = plan
        self._spec = spec
        self._roster = roster
        self._output = output
        self._journal = journal
        self._passes_input = passes_input
        self._input: StandardInput | None = None
        self._stop_order: Stop | None = None

    def note_ready(self, server: ControlServer, peer: Peer, message: Ready) -> str:
        """A rank is up; the last one lets all scripts run, if none is gone again. Returns what is wrong, or nothing."""
        problem = self._roster.note_ready(peer, message)
        if problem:
            return problem
        if self._stop_order is not None:
            server.send(peer, self._stop_order)
        elif len(self._roster.ready) == len(self._roster.supervisors) == self._plan.size:
            self._begin(server, list(self._roster.ready.values()))
        return ""

    def stop(self, server: ControlServer, number: int, grace: float) -> None:
        """Tell all ranks to end by a signal within `grace` seconds: those that are up, and those that still come up."""
        self._stop_order = Stop(number, grace)
        server.broadcast(self._stop_order, role="supervisor")

    def want_input(self) -> None:
        """Rank 0 has taken what it was sent."""
        if self._input is not None:
            self._input.want_more()

    def _begin(self, server: ControlServer, ready: list[KnownRank]) -> None:
        placed = place(ready)
        if not self._spec.quiet:
            words = Words(is_terminal=self._output.stderr_is_terminal)
            show_start(self._plan, placed, words)
            self._output.say(words.getvalue())
        first = min(ready, key=lambda one: one.rank)
        one_host = len({rank.host for rank in placed}) == 1
        address = "127.0.0.1" if one_host else _seen_from_others(first, ready)
        for rank in placed:
            self._journal.rank_started(rank)
            server.send(self._roster.supervisors[rank.rank], self._orders(rank, (address, first.free_port)))
        if not self._passes_input:
            self._input = StandardInput(lambda data: self._send_input(server, data))
        self.running_since = time.monotonic()

    def _orders(self, rank: PlacedRank, master: tuple[str, int]) -> Start:
        return Start(
            environment=rank_environment(rank, self._plan.size, master, self._plan.variables.all)
            | self._journal.variables,
            credit=credit_of_rank(self._plan.size),
            grace=self._spec.grace if self._spec.grace is not None else RANK_GRACE,
            has_input=rank.rank == 0 and not self._passes_input,
        )

    def _send_input(self, server: ControlServer, data: bytes) -> None:
        """On the reading thread."""
        supervisor = self._roster.supervisors.get(0)
        if supervisor is not None:
            server.send(supervisor, Input(data))


def listening_addresses(plan: LaunchPlan) -> tuple[str, list[str]]:
    """Where the control server listens, and what ranks may call it: the loopback interface, if nobody is elsewhere."""
    if plan.all_local:
        return "127.0.0.1", ["127.0.0.1"]
    return "0.0.0.0", own_addresses(network_address(plan.remote_host))


def _seen_from_others(first: KnownRank, ready: list[KnownRank]) -> str:
    """Rank 0's address: as we see it, unless it is on this machine; then as a rank of another host sees us."""
    if not is_loopback(first.address) and first.address not in own_addresses():
        return first.address
    return address_towards(next(rank.address for rank in ready if rank.host != first.host)) or first.address
