"""The table of backends, in the order in which `auto` asks them. A new one is a file with a `Backend` and a row here.

The choices of `--launcher`, its help, `auto`, the plan and the doctor's lines are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.backends.backend import Backend
from dtrain.launcher.plan.allocation import find_allocation
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import LaunchPlan, Machine
from dtrain.launcher.plan.spec import AUTO, LaunchSpec

ASKED_FOR = "asked for"


@dataclass(frozen=True, slots=True)
class Row:
    """A backend: `module:class` below this folder, and what it is in a few words."""

    place: str
    summary: str

    def load(self) -> type[Backend]:
        module, _, name = self.place.partition(":")
        backend: type[Backend] = getattr(import_module(f"dtrain.launcher.backends.{module}"), name)
        return backend


BACKENDS = {
    "local": Row("local:LocalBackend", "plain processes of this machine, without MPI"),
    "srun": Row("srun:SrunBackend", "a step of Slurm"),
    "mpirun": Row("mpirun:MpirunBackend", "Open MPI, MPICH or Intel MPI"),
    "ray": Row("ray_cluster.backend:RayBackend", "a Ray cluster places the ranks, Open MPI starts them"),
}


def summary() -> str:
    """All of them, for a help text."""
    return "; ".join(f"{name}: {row.summary}" for name, row in BACKENDS.items())


def row_of(name: str) -> Row:
    """The row of a name. Raises `LaunchError` for one that is not in the table."""
    if name not in BACKENDS:
        raise LaunchError(expected("--launcher", f"one of {AUTO}, " + ", ".join(BACKENDS), repr(name)))
    return BACKENDS[name]


def choose(spec: LaunchSpec) -> tuple[str, str]:
    """The backend's name and why it is this one. Raises `LaunchError` where none of them takes the job by itself."""
    if spec.launcher != AUTO:
        return spec.launcher, ASKED_FOR
    for name, row in BACKENDS.items():
        reason = row.load().detect(spec)
        if reason is not None:
            return name, reason
    raise LaunchError(expected("--launcher auto", "a backend that takes this job", "none", "name one"))


def within_allocation(spec: LaunchSpec, env: Mapping[str, str]) -> LaunchSpec:
    """The job inside of the batch system's allocation that this process is in, where its backend takes one."""
    takes = spec.launcher == AUTO or row_of(spec.launcher).load().takes_allocation
    allocation = find_allocation(env)
    return spec.within(allocation) if takes else spec


def make_plan(spec: LaunchSpec, machine: Machine, variables: RankVariables) -> tuple[Backend, LaunchPlan]:
    """The backend for a job, and its plan. Raises `LaunchError` where what the backend needs is not installed."""
    name, reason = choose(spec)
    backend = row_of(name).load()(spec)
    plan = backend.plan(spec, machine, variables)
    return backend, replace(plan, backend=name, reason="; ".join(filter(None, (reason, plan.reason))))
