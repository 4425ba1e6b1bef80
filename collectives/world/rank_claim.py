"""A rank is one process. Whoever joins the world first has it; processes that it starts inherit only its environment.

A pool that spawns its workers imports the script in each of them, `dist.init()` at its top included. Such a child must
not start MPI under its parent's name: it is a world of one, and is told so.
"""

from __future__ import annotations

import os
import warnings

from dtrain.base.rank_info import ENVIRONMENTS, RankInfo
from dtrain.control.connection import ADDRESS_VARIABLE, TOKEN_VARIABLE

CLAIM_VARIABLE = "DTRAIN_RANK_CLAIM"
# One of these differs where a rank starts another job, whose ranks are ranks of their own.
_JOB_VARIABLES = ("DTRAIN_JOB_ID", "PMIX_NAMESPACE", "PMI_JOBID", "SLURM_JOB_ID", "SLURM_STEP_ID")


def claim_rank(info: RankInfo) -> bool:
    """Take the rank that the environment names; False where a process above this one has it."""
    job = "/".join(os.environ.get(name, "") for name in _JOB_VARIABLES)
    identity = f"{info.source} {info.rank} of {info.size} in {job}"
    process, _, claimed = os.environ.get(CLAIM_VARIABLE, "").partition(" ")
    if claimed == identity:
        return process == str(os.getpid())
    os.environ[CLAIM_VARIABLE] = f"{os.getpid()} {identity}"
    return True


def leave_job(info: RankInfo) -> None:
    """Make this process one without a launcher, for everything that asks the environment, and say so."""
    process = os.environ[CLAIM_VARIABLE].partition(" ")[0]
    for name in (*(name for row in ENVIRONMENTS for name in row.names), ADDRESS_VARIABLE, TOKEN_VARIABLE):
        os.environ.pop(name, None)
    warnings.warn(
        f"collectives.init: process {process} holds rank {info.rank} of {info.size}, and this one was started by it: "
        "it is a world of one. Put what trains under `if __name__ == '__main__':`, so that worker processes which "
        "import the script do not run it; start more ranks with `dtrain run -np`",
        RuntimeWarning,
        stacklevel=5,
    )
