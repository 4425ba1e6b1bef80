"""Ranks as plain processes of this machine, without MPI. The scripts choose how they talk, if they do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from dtrain.launcher.backends.processes import StartedProcesses
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import Command, LaunchPlan, Machine, crowding_note, planned_ranks, rank_command
from dtrain.launcher.plan.machine import reads_a_terminal
from dtrain.launcher.plan.spec import LaunchSpec


class LocalBackend:
    """`--launcher local`."""

    def __init__(self, spec: LaunchSpec) -> None:
        # A rank is a session of its own, which may not read the terminal of ours.
        self.passes_input = not reads_a_terminal()
        self._reason = "asked for" if spec.launcher == "local" else "one rank here needs no MPI"

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """One command a rank."""
        ranks = planned_ranks(spec, machine)
        argv = rank_command(spec, machine)
        return LaunchPlan(
            launcher="local",
            reason=self._reason,
            size=len(ranks),
            commands=tuple(
                Command(argv, {"DTRAIN_RANK": str(rank.rank), "DTRAIN_WORLD_SIZE": str(len(ranks))}) for rank in ranks
            ),
            variables=variables,
            ranks=ranks,
            notes=crowding_note(ranks, machine),
        )

    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> StartedProcesses:
        """Start one process a rank. Rank 0 keeps standard input, unless it is a terminal (`passes_input`)."""
        started = StartedProcesses()
        for number, command in enumerate(plan.commands):
            env = plan.environment | dict(control) | dict(command.variables)
            stdin = sys.stdin if number == 0 and self.passes_input else subprocess.DEVNULL
            started.add(command.argv, env, stdin=stdin)
        return started
