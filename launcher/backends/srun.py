"""Ranks started by Slurm's `srun`, one task each: for sites where mpirun is not installed, or may not start daemons.

Inside of an allocation it starts a step of it, outside it asks for one as `srun` does. MPI meets through Slurm's PMIx.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.backends.backend import Backend
from dtrain.launcher.backends.processes import StartedProcesses
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import Command, LaunchPlan, Machine, rank_command
from dtrain.launcher.plan.mpi_installation import QUIET_VARIABLES, find_mpirun
from dtrain.launcher.plan.spec import LaunchSpec

SCHEDULER = "Slurm"
INSTALL_ADVICE = "load the site's Slurm (module load slurm), or use --launcher mpirun"
# A rank that failed is our affair, and so are standard input and which cores a rank may use.
OPTIONS = {"--kill-on-bad-exit": "0", "--input": "none", "--cpu-bind": "none", "--mpi": "pmix"}

# A rank whose connection to Slurm's PMIx broke before MPI's end; for that Slurm sends SIGKILL to the whole step.
_LOST_RANK = re.compile(r"Error handler invoked: status = -?\d+, source = \[[^\]]*:(\d+)\]")

# A node that Slurm's controller has given up.
_LOST_NODE = re.compile(r"srun: error: Node failure on (\S+)")


class SrunBackend(Backend):
    """`--launcher srun`."""

    is_optional = True
    kills_without_a_word = True

    def __init__(self, spec: LaunchSpec) -> None:
        self._version = self.installed()

    @classmethod
    def detect(cls, spec: LaunchSpec) -> str | None:
        is_of_slurm = spec.allocation is not None and spec.allocation.scheduler == SCHEDULER
        if is_of_slurm and find_mpirun() is None and shutil.which("srun") is not None:
            return f"{spec.world_size} ranks in a Slurm allocation without mpirun"
        return None

    @classmethod
    def installed(cls) -> str:
        srun = shutil.which("srun")
        if srun is None:
            raise LaunchError(expected("--launcher srun", "srun on PATH", "none", INSTALL_ADVICE))
        try:
            done = subprocess.run([srun, "--version"], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(
                expected("--launcher srun", f"{srun} --version to answer", str(error), INSTALL_ADVICE)
            ) from None
        return f"{done.stdout.strip() or 'Slurm of unknown version'} ({srun})"

    @classmethod
    def refusal(cls, spec: LaunchSpec) -> str:
        counts = {count for _, count in spec.ranks_per_host()}
        if len(counts) < 2:
            return ""
        given = ", ".join(map(str, sorted(counts)))
        return expected("--launcher srun", "as many ranks on each host", given, "use --launcher mpirun")

    @classmethod
    def lost_hosts(cls, said: str) -> set[str]:
        return set(_LOST_NODE.findall(said))

    @classmethod
    def first_lost(cls, said: str) -> int | None:
        found = _LOST_RANK.search(said)
        return int(found[1]) if found else None

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """One srun command."""
        argv = ["srun", "--ntasks", str(spec.world_size)]
        if spec.hosts:
            placed = spec.ranks_per_host()
            argv += ["--nodes", str(len(placed)), "--nodelist", ",".join(name for name, _ in placed)]
            argv += ["--ntasks-per-node", str(placed[0][1])]
        elif spec.nproc_per_node:
            argv += ["--ntasks-per-node", str(spec.nproc_per_node)]
        given = {word.partition("=")[0] for word in spec.mpi_args}
        argv += [f"{name}={value}" for name, value in OPTIONS.items() if name not in given]
        return LaunchPlan(
            reason=self._version,
            size=spec.world_size,
            commands=(Command((*argv, *spec.mpi_args, *rank_command(spec, machine))),),
            variables=variables,
            settings={name: value for name, value in QUIET_VARIABLES.items() if name not in variables.all},
            notes=(f"took {spec.allocation}",) if spec.allocation is not None else (),
            all_local=False,
            remote_host=spec.hosts[0].name if spec.hosts else "",
        )

    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> StartedProcesses:
        """Start srun, which hands its environment on to all tasks. Raises `LaunchError`."""
        started = StartedProcesses()
        started.add(plan.commands[0].argv, plan.environment | dict(control))
        return started
