"""Ranks as plain processes of this machine, without MPI. The scripts choose how they talk, if they do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from dtrain.base.errors import expected
from dtrain.launcher.backends.backend import Backend
from dtrain.launcher.backends.processes import StartedProcesses
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import Command, LaunchPlan, Machine, crowding_note, planned_ranks, rank_command
from dtrain.launcher.plan.machine import reads_a_terminal
from dtrain.launcher.plan.spec import LaunchSpec


class LocalBackend(Backend):
    """`--launcher local`."""

    takes_allocation = False

    def __init__(self, spec: LaunchSpec) -> None:
        # A rank is a session of its own, which may not read the terminal of ours.
        self.passes_input = not reads_a_terminal()

    @classmethod
    def detect(cls, spec: LaunchSpec) -> str | None:
        is_here = spec.allocation is None or (spec.allocation.is_inside and not spec.allocation.hosts)
        if spec.world_size == 1 and is_here and all(host.is_local for host in spec.hosts):
            return "one rank here needs no MPI"
        return None

    @classmethod
    def installed(cls) -> str:
        return "plain processes"

    @classmethod
    def refusal(cls, spec: LaunchSpec) -> str:
        remote = next((host for host in spec.hosts if not host.is_local), None)
        if remote is None:
            return ""
        return expected("--launcher local", "ranks on this machine only", str(remote), "use --launcher mpirun")

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """One command a rank."""
        ranks = planned_ranks(spec, machine)
        argv = rank_command(spec, machine)
        return LaunchPlan(
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
        try:
            for number, command in enumerate(plan.commands):
                env = plan.environment | dict(control) | dict(command.variables)
                stdin = sys.stdin if number == 0 and self.passes_input else subprocess.DEVNULL
                started.add(command.argv, env, stdin=stdin)
        except BaseException:  # a signal while it starts: no rank of many goes on
            started.kill()
            raise
        return started
