"""Ranks started by `mpirun`, Open MPI's or MPICH's: they get a normal MPI_COMM_WORLD.

One function a family turns a spec into a command line; nothing of it depends on what the machine looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from dtrain.launcher.backends.backend import Backend
from dtrain.launcher.backends.processes import StartedProcesses
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import (
    CONTROL_VARIABLES,
    Command,
    LaunchPlan,
    Machine,
    crowding_note,
    planned_ranks,
    rank_command,
)
from dtrain.launcher.plan.mpi_installation import (
    ONE_HOST_VARIABLES,
    QUIET_VARIABLES,
    ROOT_VARIABLES,
    Family,
    MpiInstallation,
    find_mpi,
    home_variable,
)
from dtrain.launcher.plan.spec import LaunchSpec

# Where mpirun itself (PRRTE of Open MPI 5, ORTE of 4) keeps what it needs while it runs. By default that is named after
# its process number, and does not start where a killed job of the same number has left its own behind.
SESSION_VARIABLES = ("PRTE_MCA_prte_local_tmpdir_base", "OMPI_MCA_orte_local_tmpdir_base")
# How Open MPI 4 and 5 name the host of a daemon that they have lost, or whose ssh has ended.
_LOST_DAEMON = re.compile(r"(?:Remote daemon:\s.*\son node|Remote host:)\s+(\S+)")


class MpirunBackend(Backend):
    """`--launcher mpirun`."""

    twice_advice = "does mpirun belong to another MPI than the one this Python uses?"

    def __init__(self, spec: LaunchSpec, installation: MpiInstallation | None = None) -> None:
        self._installation = installation or find_mpi()

    @classmethod
    def detect(cls, spec: LaunchSpec) -> str | None:
        return f"{spec.world_size} ranks talk through MPI"

    @classmethod
    def installed(cls) -> str:
        return str(find_mpi())

    @classmethod
    def lost_hosts(cls, said: str) -> set[str]:
        return set(_LOST_DAEMON.findall(said))

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """One mpirun command."""
        adopts_allocation = spec.allocation is not None and not spec.hosts
        ranks = () if adopts_allocation else planned_ranks(spec, machine)
        all_local = not adopts_allocation and all(rank.host == machine.host for rank in ranks)
        names = [] if all_local else sorted({*variables.exported, *CONTROL_VARIABLES})
        make = FAMILIES[self._installation.family]
        argv = make(spec, self._installation, [] if all_local else spec.ranks_per_host(), names, adopts_allocation)
        notes = crowding_note(ranks, machine)
        if spec.allocation is not None:
            notes = (*notes, f"took {spec.allocation}")
        wanted = QUIET_VARIABLES | (ONE_HOST_VARIABLES if all_local else {})
        settings = {name: value for name, value in wanted.items() if name not in variables.all}
        return LaunchPlan(
            reason=str(self._installation),
            size=spec.world_size,
            commands=(Command((*argv, *rank_command(spec, machine))),),
            variables=variables,
            settings=settings | home_variable(variables.all) | (ROOT_VARIABLES if machine.is_root else {}),
            ranks=ranks,
            notes=notes,
            all_local=all_local,
            remote_host=next((rank.host for rank in ranks if rank.host != machine.host), ""),
        )

    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> StartedProcesses:
        """Start mpirun, with a folder of its own for this job. Raises `LaunchError`."""
        started = StartedProcesses()
        env = plan.environment | dict(control)
        try:
            if self._installation.family == "openmpi":
                env = dict.fromkeys(SESSION_VARIABLES, started.make_folder()) | env
            started.add(plan.commands[0].argv, env)
        except BaseException:  # a signal while it starts
            started.kill()
            raise
        return started


Hosts = list[tuple[str, int]]


def openmpi_command(
    spec: LaunchSpec, installation: MpiInstallation, hosts: Hosts, names: list[str], in_allocation: bool
) -> list[str]:
    """Open MPI 4 and 5. Cores are not bound: threads are divided by rank, and a bound rank would get one core."""
    argv = [installation.mpirun, "-np", str(spec.world_size)]
    if hosts and not in_allocation:
        argv += ["--host", ",".join(f"{name}:{count}" for name, count in hosts)]
    if "--bind-to" not in spec.mpi_args:
        argv += ["--bind-to", "none"]
    if "--map-by" not in spec.mpi_args:
        argv += _mapping(spec, installation, hosts, in_allocation)
    # The UCX component of shared windows warns on every machine without a fabric.
    argv += ["--mca", "osc", "^ucx"]
    for name in names:
        argv += ["-x", name]
    return [*argv, *spec.mpi_args]


def _mapping(spec: LaunchSpec, installation: MpiInstallation, hosts: Hosts, in_allocation: bool) -> list[str]:
    if in_allocation:
        return ["--map-by", f"ppr:{spec.nproc_per_node}:node"] if spec.nproc_per_node else []
    if hosts:
        return []
    # More ranks than cores is the user's choice, and is said in the plan's notes.
    return ["--map-by", ":OVERSUBSCRIBE"] if installation.version >= (5,) else ["--oversubscribe"]


def hydra_command(
    spec: LaunchSpec, installation: MpiInstallation, hosts: Hosts, names: list[str], in_allocation: bool
) -> list[str]:
    """MPICH and Intel MPI."""
    argv = [installation.mpirun, "-n", str(spec.world_size)]
    if hosts and not in_allocation:
        argv += ["-hosts", ",".join(f"{name}:{count}" for name, count in hosts)]
    if spec.nproc_per_node:
        argv += ["-ppn", str(spec.nproc_per_node)]
    if names:
        argv += ["-genvlist", ",".join(names)]
    return [*argv, *spec.mpi_args]


FAMILIES: dict[Family, Callable[[LaunchSpec, MpiInstallation, Hosts, list[str], bool], list[str]]] = {
    "openmpi": openmpi_command,
    "hydra": hydra_command,
}
