"""`LaunchPlan`: the exact commands and variables that will start a job, made without starting anything.

A plan is a value: backends make one of a `LaunchSpec` and the `Machine`, `--plan-only` prints it, `Job` carries it out.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dtrain.base.cores import usable_cores
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.machine import visible_devices
from dtrain.launcher.plan.placement import KnownRank, PlacedRank, place
from dtrain.launcher.plan.spec import LOCAL_NAMES, LaunchSpec

# Variables that Job sets when it knows its address: shown in a plan, never with their values.
CONTROL_VARIABLES = ("DTRAIN_CONTROL_ADDRESS", "DTRAIN_JOB_ID", "DTRAIN_JOB_TOKEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts of this machine a plan depends on."""

    host: str
    cores: tuple[int, ...]
    num_cores: int
    devices: tuple[str, ...]
    python: str
    is_root: bool

    @classmethod
    def here(cls, env: Mapping[str, str]) -> Machine:
        return cls(
            host=os.uname().nodename,
            cores=tuple(sorted(os.sched_getaffinity(0))),
            num_cores=usable_cores(),
            devices=tuple(visible_devices(env)),
            python=sys.executable,
            is_root=os.geteuid() == 0,
        )


@dataclass(frozen=True, slots=True)
class Command:
    """One process to start and the variables it gets beside the plan's."""

    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(
            [*(f"{name}={shlex.quote(value)}" for name, value in self.variables.items()), shlex.join(self.argv)]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """How a job will be started. `ranks` is empty where only the cluster knows the places."""

    reason: str = ""  # why it is started so: a backend says what it found, the table puts before it why it was chosen
    backend: str = ""  # its name in the table, which fills it in
    size: int
    commands: tuple[Command, ...]
    variables: RankVariables
    settings: Mapping[str, str] = field(default_factory=dict)  # what the backend itself needs, such as root's consent
    ranks: tuple[PlacedRank, ...] = ()
    notes: tuple[str, ...] = ()
    all_local: bool = True
    remote_host: str = ""  # one that must be able to reach the launcher; "" where only the cluster knows

    @property
    def environment(self) -> dict[str, str]:
        """What the started processes get, but for `CONTROL_VARIABLES`."""
        return self.variables.all | dict(self.settings)


def rank_command(spec: LaunchSpec, machine: Machine) -> tuple[str, ...]:
    """What each rank runs: our entry, by path, then the user's script."""
    entry = str(Path(__file__).parents[1] / "rank" / "rank_main.py")
    return (machine.python, entry, *(("-m",) if spec.as_module else ()), spec.script, *spec.arguments)


def planned_ranks(spec: LaunchSpec, machine: Machine) -> tuple[PlacedRank, ...]:
    """The rank table as the spec implies it; cores and devices only for this machine."""
    hosts = [host for host, count in spec.ranks_per_host() for _ in range(count)]
    return tuple(place(_expected_rank(rank, host, machine) for rank, host in enumerate(hosts)))


def _expected_rank(rank: int, host: str, machine: Machine) -> KnownRank:
    if host not in (*LOCAL_NAMES, machine.host):
        return KnownRank(rank=rank, host=host)
    return KnownRank(
        rank=rank, host=machine.host, cores=machine.cores, num_cores=machine.num_cores, devices=machine.devices
    )


def crowding_note(ranks: Sequence[PlacedRank], machine: Machine) -> tuple[str, ...]:
    """A note where more ranks than cores share this machine."""
    here = sum(1 for rank in ranks if rank.host == machine.host)
    if here <= machine.num_cores:
        return ()
    return (f"{here} ranks share {machine.num_cores} cores of {machine.host}: they will take turns",)
