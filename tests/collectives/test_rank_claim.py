"""A rank is claimed once: pools, forks and subprocesses of a rank are worlds of one, and the job goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.run_ranks import mpi_environment, mpirun_command

from dtrain.base.rank_info import RankInfo
from dtrain.collectives.world import rank_claim

SCRIPT = """
import multiprocessing, os, subprocess, sys
import numpy as np
from dtrain import collectives as dist, data

world = dist.init()  # at the top, so that every importer runs it


def look(_):
    # In a forked child the module is not imported again.
    mine = dist.init()
    loader = data.DataLoader(data.ArrayDataset(np.arange(6)), 6, shard=True)
    return mine.size, dist.rank(), dist.get_communicator().all_reduce(np.ones(1)).item(), len(next(iter(loader)))


if __name__ == "__main__":
    alone = (1, 0, 1.0, 6)
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(look, range(2)) == [alone] * 2, method
    code = "import script; print(script.look(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(alone), done.stderr
    assert f"process {os.getpid()} holds rank {world.rank} of {world.size}" in done.stderr, done.stderr
    assert dist.init() is world and world.all_reduce(np.ones(1)).item() == world.size
    print(f"rank {world.rank} of {world.size} is well", flush=True)
"""


@pytest.mark.distributed
@pytest.mark.parametrize("starter", ["dtrain run", "mpirun"])
def test_children_of_ranks_are_worlds_of_one(tmp_path: Path, starter: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    size = 2
    command = mpirun_command(size, sys.executable, "script.py")
    if starter != "mpirun":
        command = [sys.executable, "-m", "dtrain", "run", "-np", str(size), "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=mpi_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f"rank {rank} of {size} is well" in done.stdout for rank in range(size)] == [True] * size
    assert "if __name__ == '__main__':" in done.stderr


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (rank_claim.CLAIM_VARIABLE, *rank_claim._JOB_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_first_process_has_the_rank(environment: pytest.MonkeyPatch) -> None:
    info = RankInfo(rank=1, size=2, source="openmpi")
    assert rank_claim.claim_rank(info)
    assert rank_claim.claim_rank(info)  # again after finalize
    environment.setattr(os, "getpid", lambda: 12345)
    assert not rank_claim.claim_rank(info)


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("PMIX_NAMESPACE", RankInfo(rank=1, size=2, source="openmpi")),
        ("DTRAIN_JOB_ID", RankInfo(rank=1, size=2, source="openmpi")),
        ("OTHER", RankInfo(rank=0, size=2, source="openmpi")),
        ("OTHER", RankInfo(rank=1, size=3, source="openmpi")),
        ("OTHER", RankInfo(rank=1, size=2, source="dtrain")),
    ],
)
def test_a_rank_of_a_job_within_the_job_is_its_own(environment, name, info) -> None:
    assert rank_claim.claim_rank(RankInfo(rank=1, size=2, source="openmpi"))
    environment.setattr(os, "getpid", lambda: 12345)
    environment.setenv(name, "another")
    assert rank_claim.claim_rank(info)
