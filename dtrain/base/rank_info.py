"""Who am I in the job: rank and sizes read from whichever launcher's environment is present.

One table says how each launcher names the five facts; the first row that is present wins and later rows may only fill
in what it does not say (srun with PMI2 sets a rank, Slurm the place on the node). Nothing heavy is imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """Names of the variables one launcher sets. An empty tuple: it does not say; several names: the first one set."""

    source: str
    rank: tuple[str, ...]
    size: tuple[str, ...]
    local_rank: tuple[str, ...] = ()
    local_size: tuple[str, ...] = ()
    node_rank: tuple[str, ...] = ()
    knows_processes: bool = False  # set per process by a starter, so that it must agree with our own variables
    starter: str = ""  # the program that sets them, of whatever it starts

    @property
    def names(self) -> tuple[str, ...]:
        """Every variable of this launcher."""
        return self.rank + self.size + self.local_rank + self.local_size + self.node_rank


# OMPI_COMM_WORLD_NODE_RANK is not the node's number but the rank on the node over all jobs, so it is not read.
ENVIRONMENTS = (
    EnvironmentRow(
        "dtrain",
        ("DTRAIN_RANK",),
        ("DTRAIN_WORLD_SIZE",),
        ("DTRAIN_LOCAL_RANK",),
        ("DTRAIN_LOCAL_WORLD_SIZE",),
        ("DTRAIN_NODE_RANK",),
    ),
    EnvironmentRow(
        "openmpi",
        ("OMPI_COMM_WORLD_RANK",),
        ("OMPI_COMM_WORLD_SIZE",),
        ("OMPI_COMM_WORLD_LOCAL_RANK",),
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        knows_processes=True,
        starter="mpirun",
    ),
    EnvironmentRow("pmix", ("PMIX_RANK",), ("PMIX_SIZE",)),
    EnvironmentRow(
        "pmi",
        ("PMI_RANK",),
        ("PMI_SIZE",),
        ("MPI_LOCALRANKID",),
        ("MPI_LOCALNRANKS",),
        knows_processes=True,
        starter="mpirun",
    ),
    EnvironmentRow(
        "mvapich",
        ("MV2_COMM_WORLD_RANK",),
        ("MV2_COMM_WORLD_SIZE",),
        ("MV2_COMM_WORLD_LOCAL_RANK",),
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
        knows_processes=True,
        starter="mpirun",
    ),
    EnvironmentRow(
        "slurm",
        ("SLURM_PROCID",),
        ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"),
        ("SLURM_LOCALID",),
        ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
        ("SLURM_NODEID",),
        starter="srun",
    ),
    EnvironmentRow(
        "horovod",
        ("HOROVOD_RANK",),
        ("HOROVOD_SIZE",),
        ("HOROVOD_LOCAL_RANK",),
        ("HOROVOD_LOCAL_SIZE",),
        ("HOROVOD_CROSS_RANK",),
    ),
    EnvironmentRow(
        "torchrun", ("RANK",), ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",), ("GROUP_RANK", "NODE_RANK")
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankInfo:
    """One process's place in the job. Alone, it is rank 0 of 1 with source `single`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node_rank: int = 0
    host: str = ""
    source: str = "single"

    @classmethod
    def from_environment(cls, env: Environment | None = None) -> RankInfo:
        """Read `env`, or this process's environment.

        Raises `LaunchError` for a rank without a size, values that are no numbers or do not fit each other, and for an
        MPI that disagrees with the launcher.
        """
        # errors.py imports this file for rank_tag(), so it can be imported only once that is done.
        from dtrain.base.errors import LaunchError

        try:
            return _resolve(os.environ if env is None else env)
        except _BadEnvironment as error:
            raise LaunchError(str(error)) from None

    def __str__(self) -> str:
        return f"rank {self.rank}/{self.size} (local {self.local_rank}/{self.local_size}) on {self.host}"


def rank_tag(env: Environment | None = None) -> str:
    """`[rank 2/8] ` in a distributed run, nothing alone. Never raises: errors are worded with it."""
    try:
        info = _resolve(os.environ if env is None else env)
    except _BadEnvironment:
        return ""
    return f"[rank {info.rank}/{info.size}] " if info.size > 1 else ""


class _BadEnvironment(ValueError):
    """Values that contradict each other; becomes a LaunchError at the public door."""


def _resolve(env: Environment) -> RankInfo:
    present = [row for row in ENVIRONMENTS if _is_present(row, env)]
    if not present:
        return RankInfo(host=_host(env))
    first = present[0]
    rank = _number(env, first.rank)
    size = _number(env, first.size)
    assert rank is not None
    if size is None:
        # PMIx names no size; whoever started it (Slurm, Open MPI) does, if it also names the same rank.
        size = next((_number(env, row.size) for row in present[1:] if _number(env, row.rank) == rank), None)
    if size is None:
        raise _BadEnvironment(
            f"environment: expected a world size beside {first.rank[0]}={rank}, got none; "
            f"set {first.size[0]}, or unset {first.rank[0]} to run alone"
        )
    _check(rank, size, first.rank[0], first.size[0])
    _check_agreement(first, present[1:], rank, size, env)
    same = [row for row in present if row is first or _says(row, rank, size, env)]
    return _placed(rank, size, first, same, env)


def _placed(rank: int, size: int, first: EnvironmentRow, same: list[EnvironmentRow], env: Environment) -> RankInfo:
    """Fill in the place on the node from every row that describes this very process."""
    node_rank = _first_of(env, [row.node_rank for row in same])
    local_rank = _first_of(env, [row.local_rank for row in same])
    local_size = _local_size(env, [row.local_size for row in same], node_rank)
    if local_rank is None and local_size is None:
        # Nobody says where the ranks are: one host, as every such starter does without a host list.
        local_rank, local_size = rank, size
    elif local_rank is None:
        assert local_size is not None
        local_rank = rank % max(local_size, 1)
    elif local_size is None:
        # A local rank that equals the rank is what one host looks like; otherwise only a lower bound is known.
        local_size = size if local_rank == rank else local_rank + 1
    assert local_size is not None
    _check(local_rank, local_size, f"local rank of {first.source}", "local size")
    if local_size > size:
        raise _BadEnvironment(
            f"environment: expected at most {size} local ranks in a world of {size}, got {local_size}; "
            f"check {', '.join(first.local_size + first.size)}"
        )
    if node_rank is None:
        node_rank = (rank - local_rank) // local_size if rank >= local_rank else 0
    return RankInfo(
        rank=rank,
        size=size,
        local_rank=local_rank,
        local_size=local_size,
        node_rank=node_rank,
        host=_host(env),
        source=first.source,
    )


def _is_present(row: EnvironmentRow, env: Environment) -> bool:
    if not any(env.get(name) for name in row.rank):
        return False
    # A batch script carries SLURM_PROCID=0 and the allocation's SLURM_NTASKS but is no task of a step.
    return row.source != "slurm" or "SLURM_JOB_ID" not in env or "SLURM_STEP_ID" in env


def _says(row: EnvironmentRow, rank: int, size: int, env: Environment) -> bool:
    return _number(env, row.rank) == rank and _number(env, row.size) in (size, None)


def _check_agreement(
    first: EnvironmentRow, others: list[EnvironmentRow], rank: int, size: int, env: Environment
) -> None:
    if first.source != "dtrain":
        return
    for row in others:
        if row.knows_processes and not _says(row, rank, size, env):
            theirs = ", ".join(f"{name}={env[name]}" for name in row.rank + row.size if name in env)
            raise _BadEnvironment(
                f"environment: expected {row.source} to agree with DTRAIN_RANK={rank}, DTRAIN_WORLD_SIZE={size}, "
                f"got {theirs}; do not start mpirun inside a rank without unsetting DTRAIN_RANK"
            )


def _check(rank: int, size: int, rank_name: str, size_name: str) -> None:
    if size < 1 or not 0 <= rank < size:
        raise _BadEnvironment(
            f"environment: expected 0 <= {rank_name} < {size_name}, got {rank} and {size}; "
            "unset variables left over from another job"
        )


def _number(env: Environment, names: tuple[str, ...]) -> int | None:
    for name in names:
        text = env.get(name, "")
        if not text:
            continue
        try:
            return int(text)
        except ValueError:
            raise _BadEnvironment(f"environment: expected {name} to be a whole number, got {text!r}") from None
    return None


def _first_of(env: Environment, choices: list[tuple[str, ...]]) -> int | None:
    return next((number for names in choices if (number := _number(env, names)) is not None), None)


def _local_size(env: Environment, choices: list[tuple[str, ...]], node_rank: int | None) -> int | None:
    for name in (name for names in choices for name in names):
        text = env.get(name, "")
        if not text:
            continue
        if not name.startswith("SLURM_"):
            return _number(env, (name,))
        counts = slurm_counts(name, text)
        return counts[node_rank or 0] if (node_rank or 0) < len(counts) else counts[-1]
    return None


def slurm_counts(name: str, text: str) -> list[int]:
    """`2(x3),1` is 2, 2, 2, 1: tasks of each node."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise _BadEnvironment(f"environment: expected {name} to look like 2(x3),1, got {text!r}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _host(env: Environment) -> str:
    return env.get("DTRAIN_HOST") or os.uname().nodename
