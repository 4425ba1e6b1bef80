"""What a batch system has given to this job: `Allocation`, read from its variables. Nothing is asked of the system.

mpirun finds Slurm's nodes itself; of PBS, LSF and Grid Engine it gets the hosts that their node file names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dtrain.base.errors import LaunchError, expected
from dtrain.base.rank_info import ENVIRONMENTS, RankInfo, slurm_counts

# Where each names its job, and a file of its hosts: one line a slot, or `host slots …`.
NODE_FILES = {
    "PBS": ("PBS_JOBID", "PBS_NODEFILE"),
    "LSF": ("LSB_JOBID", "LSB_DJOB_HOSTFILE"),
    "Grid Engine": ("JOB_ID", "PE_HOSTFILE"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The nodes of a batch job: how many, and ranks that fit on all of them. `hosts` only where mpirun needs them."""

    scheduler: str
    job: str
    nodes: int
    size: int
    hosts: tuple[tuple[str, int], ...] = ()
    is_inside: bool = True  # this process runs on its (first) node, and not where the job was asked for

    def __str__(self) -> str:
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"the {self.scheduler} allocation of job {self.job}: {nodes}, room for {self.size}"


def find_allocation(env: Mapping[str, str]) -> Allocation | None:
    """The allocation that this process is in. Raises `LaunchError` where its variables cannot be read."""
    job = env.get("SLURM_JOB_ID", "")
    if job and (env.get("SLURM_TASKS_PER_NODE") or env.get("SLURM_NTASKS")):
        return _slurm(job, env)
    for scheduler, (job_variable, file_variable) in NODE_FILES.items():
        if env.get(job_variable) and env.get(file_variable):
            return _from_node_file(scheduler, env[job_variable], file_variable, env[file_variable])
    return None


def refuse_several_launchers(env: Mapping[str, str]) -> None:
    """Raise `LaunchError` where mpirun or srun has started several of this launcher, each of which would start a job.

    A rank of a job of ours may start one of its own.
    """
    if env.get("DTRAIN_JOB_ID"):
        return
    of_starters = {name for row in ENVIRONMENTS if row.starter for name in row.names} | {"SLURM_STEP_ID"}
    info = RankInfo.from_environment(
        {name: value for name, value in env.items() if name in (*of_starters, "SLURM_JOB_ID")}
    )
    if info.size > 1:
        starter = next(row.starter for row in ENVIRONMENTS if row.source == info.source)
        raise LaunchError(
            expected(
                "dtrain run",
                "to be started once",
                f"{info.size} of it, started by {starter}",
                f"run it without {starter}, or start the script itself: {starter} -n {info.size} python SCRIPT",
            )
        )


def _slurm(job: str, env: Mapping[str, str]) -> Allocation:
    try:
        counts = slurm_counts("SLURM_TASKS_PER_NODE", env.get("SLURM_TASKS_PER_NODE") or env["SLURM_NTASKS"])
        size = int(env.get("SLURM_NTASKS") or sum(counts))
    except ValueError as error:
        raise LaunchError(f"Slurm allocation {job}: {error}") from None
    return Allocation(
        scheduler="Slurm", job=job, nodes=len(counts), size=size, is_inside=bool(env.get("SLURMD_NODENAME"))
    )


def _from_node_file(scheduler: str, job: str, variable: str, path: str) -> Allocation:
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        advice = f"unset {variable} if this is no job of {scheduler}"
        raise LaunchError(
            expected(f"{scheduler} allocation {job}", f"to read {variable}", str(error), advice)
        ) from None
    slots: Counter[str] = Counter()
    for words in filter(None, lines):
        slots[words[0]] += int(words[1]) if len(words) > 1 and words[1].isdigit() else 1
    if not slots:
        raise LaunchError(expected(f"{scheduler} allocation {job}", f"hosts in {path}", "none"))
    return Allocation(scheduler=scheduler, job=job, nodes=len(slots), size=slots.total(), hosts=tuple(slots.items()))
