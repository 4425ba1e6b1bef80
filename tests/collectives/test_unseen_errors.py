"""An asynchronous call that failed and that nobody has waited for ends the rank as if somebody had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.run_ranks import mpi_environment, require_mpi

START = """
import numpy as np
import dtrain.collectives as dist

world = dist.init(timeout=20)

class Full(np.ndarray):
    def reshape(self, *shape):
        raise MemoryError("no room")
"""
UNSEEN = START + "world.all_reduce_async(np.ones(3).view(Full))\n"
SEEN = START + "try:\n    world.all_reduce_async(np.ones(3).view(Full)).wait()\nexcept MemoryError:\n    pass\n"
DIFFERENT = START + "work = world.all_gather_async(np.ones(3 + world.rank))\n"


WAITING = START + "world.recv_async(source=0, tag=3)\n"


def run(script: str, folder: Path, *starter: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(script)
    command = [*(starter or (sys.executable,)), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=mpi_environment())


def test_alone(tmp_path: Path) -> None:
    failed = run(UNSEEN, tmp_path)
    assert failed.returncode == 1 and "MemoryError: no room" in failed.stderr
    assert run(SEEN, tmp_path).returncode == 0
    waiting = run(WAITING, tmp_path)
    assert waiting.returncode == 0 and not waiting.stderr, "a message that nobody sends holds no exit and is no error"


@pytest.mark.distributed
@pytest.mark.parametrize("launcher", ["dtrain", "mpirun"])
def test_on_ranks_the_code_is_that_of_the_error(launcher: str, tmp_path: Path) -> None:
    mpirun = require_mpi()
    starter = {
        "dtrain": (str(Path(sys.executable).parent / "dtrain"), "run", "-np", "2"),
        "mpirun": (mpirun, "-n", "2", "--map-by", ":OVERSUBSCRIBE", sys.executable),
    }[launcher]
    failed = run(DIFFERENT, tmp_path, *starter)
    assert failed.returncode == 120, failed.stdout + failed.stderr
    said = "expected the same call on every rank, got rank 0: all_gather f64[3]; rank 1: all_gather f64[4]"
    assert said in failed.stdout + failed.stderr


FORKS = (
    START
    + """
import atexit, os
if os.fork() == 0:
    atexit._run_exitfuncs()
    os._exit(0)  # what MPI does at the end of a fork is not ours
os.wait()
assert world.all_reduce(np.ones(3))[0] == 2
"""
)


@pytest.mark.distributed
def test_a_fork_that_ends_is_no_end_of_the_rank(tmp_path: Path) -> None:
    ended = run(FORKS, tmp_path, require_mpi(), "-n", "2", "--map-by", ":OVERSUBSCRIBE", sys.executable)
    assert ended.returncode == 0, ended.stderr
