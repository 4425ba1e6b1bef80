"""The table of launchers. A new one is a file with a `Backend` and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import LOCAL_NAMES, LaunchPlan, Machine
from dtrain.launcher.plan.spec import LaunchSpec


class Started(Protocol):
    """What a backend started: the processes behind the ranks."""

    def poll(self) -> int | None:
        """Exit code when everything has ended, else None. Negative for a signal, as subprocess has it."""
        ...

    def terminate(self) -> None:
        """Ask everything to end."""
        ...

    def kill(self) -> None:
        """End everything now."""
        ...

    def messages(self) -> str:
        """What the starter itself wrote, for when no rank can tell."""
        ...


class Backend(Protocol):
    """One way to start ranks."""

    passes_input: bool  # rank 0 inherits our standard input; otherwise it comes over the control channel

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """Make the commands without starting anything. Raises `LaunchError` where something needed is missing."""
        ...

    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> Started:
        """Start the ranks with the plan's environment and the control variables."""
        ...


# Modules are imported when chosen: Ray's costs a second and may be absent.
BACKENDS: dict[str, tuple[str, str]] = {
    "local": ("dtrain.launcher.backends.local", "LocalBackend"),
    "mpirun": ("dtrain.launcher.backends.mpirun", "MpirunBackend"),
    "ray": ("dtrain.launcher.backends.ray_cluster.backend", "RayBackend"),
}


def choose(spec: LaunchSpec) -> tuple[str, str]:
    """The launcher's name and why it is this one."""
    if spec.launcher != "auto":
        return spec.launcher, "asked for"
    is_here = spec.allocation is None or (spec.allocation.is_inside and not spec.allocation.hosts)
    if spec.world_size == 1 and is_here and all(host.name in LOCAL_NAMES for host in spec.hosts):
        return "local", "one rank here needs no MPI"
    return "mpirun", f"{spec.world_size} ranks talk through MPI"


def make_backend(name: str, spec: LaunchSpec) -> Backend:
    """The backend of a name in the table. Raises `LaunchError` for any other."""
    if name not in BACKENDS:
        raise LaunchError(expected("--launcher", "one of auto, " + ", ".join(BACKENDS), repr(name)))
    module, class_name = BACKENDS[name]
    backend: Backend = getattr(import_module(module), class_name)(spec)
    return backend
