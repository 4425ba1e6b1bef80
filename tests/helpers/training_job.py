"""A job that trains, in company or not, and what is left of one.

The same cases run under the local launcher and under a real mpirun, whose ranks meet in an all-reduce; those that ask
for nothing else of where the ranks are also under a real srun, with the tests of clusters.
"""

from __future__ import annotations

import psutil
import pytest

LAUNCHERS = ["local", pytest.param("mpirun", marks=pytest.mark.distributed)]
OF_SLURM = pytest.param("srun", marks=[pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed])

# What each rank does: step on in company, and at step 5 do what the test wants on the rank it wants.
TRAIN = """
import os, signal, subprocess, sys, time
launcher, who, action = sys.argv[1:4]
rank = int(os.environ["RANK"])
if launcher != "local":
    from mpi4py import MPI
    world = MPI.COMM_WORLD
    assert (world.rank, world.size) == (rank, int(os.environ["WORLD_SIZE"]))
def meet():
    if launcher != "local":
        world.allreduce(1)
def fail():
    raise ValueError("bad data in shard 7")
print("begin", os.getpid(), flush=True)
for step in range(2000):
    meet()
    if step == 5 and rank == int(who):
        exec(action)
    time.sleep(0.01)
"""


def train(run, launcher, who, action, *flags, size=3):
    script = run.script(TRAIN)
    return run("--launcher", launcher, "-np", str(size), *flags, script, launcher, str(who), action)


def left_behind(folder):
    """Processes that still work in the test's own folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found
