"""Every environment variable that dtrain reads or sets, in one table: the documentation is made of it.

A test holds that the sources name no other. The flags of `dtrain run` have their mirrors besides
(`dtrain.launcher.command.flags`), and other launchers' variables are read by `rank_info.ENVIRONMENTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Owner = Literal["user", "launcher", "internal"]


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """`owner` sets it: the user, the launcher for each rank, or dtrain for its own processes."""

    name: str
    owner: Owner
    default: str
    meaning: str


ENVIRONMENT_VARIABLES = (
    EnvironmentVariable(
        "DTRAIN_COLLECTIVE_TIMEOUT",
        "user",
        "1800",
        "seconds that a collective waits for its peers before it raises; `dist.init(timeout=…)` wins",
    ),
    EnvironmentVariable(
        "DTRAIN_FUSION_THRESHOLD_MB",
        "user",
        "25",
        "largest gradient bucket in MiB, 0 packs nothing; `dist.data_parallel(bucket_mb=…)` wins",
    ),
    EnvironmentVariable(
        "DTRAIN_LOG_LEVEL", "user", "warning", "what loggers of `dt.get_logger` show: debug, info, warning or error"
    ),
    EnvironmentVariable(
        "DTRAIN_ISA",
        "user",
        "all that this CPU has",
        "caps what CPU kernels may need: reference, scalar, avx2, avx512, or features such as avx2,fma",
    ),
    EnvironmentVariable(
        "DTRAIN_KERNELS",
        "user",
        "cost",
        "how kernels are chosen: cost, first, measured or measure, and names of kernels to take where they are usable",
    ),
    EnvironmentVariable(
        "DTRAIN_DUMP_PASSES",
        "user",
        "nothing",
        "1 prints what each graph pass changed as a diff; names of passes, with commas between, print only those",
    ),
    EnvironmentVariable("DTRAIN_RANK", "launcher", "0", "this process's rank"),
    EnvironmentVariable("DTRAIN_WORLD_SIZE", "launcher", "1", "ranks of the job"),
    EnvironmentVariable("DTRAIN_LOCAL_RANK", "launcher", "0", "this process's place among the ranks of its host"),
    EnvironmentVariable("DTRAIN_LOCAL_WORLD_SIZE", "launcher", "1", "ranks on this host"),
    EnvironmentVariable("DTRAIN_NODE_RANK", "launcher", "0", "this host's place among the hosts"),
    EnvironmentVariable(
        "DTRAIN_HOST", "launcher", "the host's own name", "the name that the launcher has for this host"
    ),
    EnvironmentVariable("DTRAIN_JOB_ID", "launcher", "none", "names the job, in logs and process lists"),
    EnvironmentVariable("DTRAIN_CONTROL_ADDRESS", "internal", "none", "where the launcher listens to its ranks"),
    EnvironmentVariable("DTRAIN_JOB_TOKEN", "internal", "none", "what a rank shows to the launcher, new for each job"),
    EnvironmentVariable(
        "DTRAIN_RANK_CLAIM", "internal", "none", "the process that holds the rank; its children are worlds of one"
    ),
    EnvironmentVariable("DTRAIN_RAY_AGENT_ADDRESS", "internal", "none", "where mpirun's agent finds the Ray launcher"),
    EnvironmentVariable("DTRAIN_RAY_AGENT_TOKEN", "internal", "none", "what that agent shows"),
)

# Old name -> the one of today; whoever still sets the old one is told.
RENAMED = {"DTRAIN_MAX_ISA": "DTRAIN_ISA"}
