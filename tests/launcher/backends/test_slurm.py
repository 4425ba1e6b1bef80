"""A real Slurm on network namespaces: how jobs of it start, end, fail and are cancelled, and its files of cluster/."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dtrain.base.cores import usable_cores

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]

CLUSTER = Path(__file__).parents[3] / "cluster" / "slurm"
DTRAIN = [sys.executable, "-m", "dtrain.cli", "run"]

MEET = """
import os
import numpy as np
import dtrain.collectives as dist

world = dist.init(timeout=60)
print("met", os.uname().nodename, world.rank, world.all_reduce(np.full(3, world.rank + 1.0))[0],
      os.environ["OMP_NUM_THREADS"], flush=True)
"""

WORK = """
import os, signal, sys, time
import numpy as np
import dtrain.collectives as dist

world = dist.init(timeout=60)

def save(number, frame):
    time.sleep(1.5)  # longer than Open MPI's own patience
    print("saved", world.rank, flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
world.all_reduce(np.full(3, world.rank + 1.0))
print("works", world.rank, os.uname().nodename, os.getpid(), flush=True)
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 60)
print("done", world.rank, flush=True)
"""


class Shell:
    """A user's shell on the login host, in a folder of the test."""

    def __init__(self, run, slurm):
        self.run = run
        self.slurm = slurm
        self.env = run.env | slurm.variables

    def __call__(self, *words, timeout=90.0):
        command = self.slurm.command(*words)
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=self.run.folder, env=self.env, capture_output=True, text=True, timeout=timeout
        )
        return done.returncode, done.stdout, done.stderr, time.monotonic() - begin

    def start(self, *words):
        """In the background, with all that is said in one file."""
        log = self.run.folder / "said"
        with log.open("w") as stream:
            process = subprocess.Popen(
                self.slurm.command(*words), cwd=self.run.folder, env=self.env, stdout=stream, stderr=subprocess.STDOUT
            )
        self.run.processes.append(process)
        return process, log

    def wait_for(self, log, word, count):
        self.slurm.wait(lambda: log.exists() and log.read_text().count(word) >= count, f"{count} {word!r} in {log}", 60)


@pytest.fixture
def shell(run, slurm):
    yield Shell(run, slurm)
    slurm.empty()


TWO_AND_TWO = ("-N2", "-n4", "--ntasks-per-node=2")


def met(slurm, text):
    """Who met, sorted by rank: host and sum of each."""
    found = re.findall(r"met (\S+) (\d+) (\S+)", text)
    return [(name, total) for name, _, total in sorted(found, key=lambda one: int(one[1]))]


def everywhere(slurm):
    first, second = slurm.nodes
    return [(first, "10.0"), (first, "10.0"), (second, "10.0"), (second, "10.0")]


def test_salloc_gives_all_its_tasks(slurm, shell):
    code, out, err, _ = shell("salloc", *TWO_AND_TWO, *DTRAIN, shell.run.script(MEET))
    assert code == 0, err
    assert met(slurm, out) == everywhere(slurm)
    assert re.search(r"note: took the Slurm allocation of job \d+: 2 nodes, room for 4", err)
    assert "dtrain: 4 ranks by mpirun" in err


def test_srun_is_a_backend(slurm, shell):
    """Ranks of a step, which meet through Slurm's PMIx; the one that fails is named."""
    code, out, err, _ = shell("salloc", *TWO_AND_TWO, *DTRAIN, "--launcher", "srun", shell.run.script(MEET))
    assert code == 0, err
    assert met(slurm, out) == everywhere(slurm)
    assert "dtrain: 4 ranks by srun (asked for; slurm" in err
    fail = shell.run.script(MEET + "if world.rank == 2: raise ValueError('bad data')\nworld.barrier()\n", "fail.py")
    code, _, err, _ = shell("salloc", *TWO_AND_TWO, *DTRAIN, "--launcher", "srun", "-q", fail)
    assert code == 1 and "dtrain: rank 2 of 4 failed: ValueError: bad data (exit code 1)" in err, err


def test_several_launchers_are_refused_at_once(shell):
    code, out, err, seconds = shell("srun", *TWO_AND_TWO, *DTRAIN, "-np", "4", shell.run.script(MEET))
    assert (code, out) == (125, "")
    assert err.count("expected to be started once, got 4 of it, started by srun; run it without srun") == 4
    assert seconds < 15


def test_srun_starts_ranks_that_divide_the_cores(slurm, shell):
    code, out, err, _ = shell("srun", *TWO_AND_TWO, "--mpi=pmix", sys.executable, shell.run.script(MEET))
    assert code == 0, err
    assert met(slurm, out) == everywhere(slurm)
    assert {line.split()[-1] for line in out.splitlines()} == {str(usable_cores() // 2 or 1)}


def test_srun_without_mpi_is_said(shell):
    code, out, err, _ = shell("srun", *TWO_AND_TWO, sys.executable, shell.run.script(MEET))
    assert (code, out) == (1, "")
    assert "expected MPI to say rank" in err and "srun --mpi=pmix" in err


def filled(shell, name, script):
    """A file of cluster/slurm with its placeholders replaced, and nothing else."""
    values = {
        "JOB_NAME": "test",
        "PARTITION": "all",
        "NODES": "2",
        "RANKS_PER_NODE": "2",
        "CORES_PER_RANK": "2",
        "TIME_LIMIT": "5",
        "VENV": sys.prefix,
        "SCRIPT": script,
    }
    path = shell.run.folder / name
    path.write_text(re.sub(r"<([A-Z_]+)>", lambda match: values[match[1]], (CLUSTER / name).read_text()))
    return str(path)


def submit(shell, name, script):
    code, out, err, _ = shell("sbatch", "--parsable", filled(shell, name, script))
    assert code == 0, err
    return out.strip(), shell.run.folder / f"test-{out.strip()}.out"


@pytest.mark.parametrize("name", sorted(path.name for path in CLUSTER.glob("*.sbatch")))
def test_a_batch_file_as_it_is(slurm, shell, name):
    job, log = submit(shell, name, shell.run.script(MEET))
    slurm.wait(lambda: slurm.ask("squeue", "-h", "-j", job) == "", "the job to end", 60)
    assert met(slurm, log.read_text()) == everywhere(slurm), log.read_text()
    assert "JobState=COMPLETED Reason=None" in slurm.ask("scontrol", "show", "job", job)


def test_a_batch_job_that_is_told_to_end_saves(slurm, shell):
    """Slurm signals the batch script, as it does before the time limit; every rank has the grace of the file."""
    job, log = submit(shell, "train.sbatch", shell.run.script(WORK))
    shell.wait_for(log, "works", 4)
    slurm.ask("scancel", "--batch", "--signal=TERM", job)
    slurm.wait(lambda: slurm.ask("squeue", "-h", "-j", job) == "", "the job to end", 60)
    text = log.read_text()
    assert sorted(re.findall(r"saved (\d)", text)) == list("0123"), text
    assert "dtrain: stopped by SIGTERM: all ranks were told to end" in text


def working(shell, *flags):
    process, log = shell.start("salloc", *TWO_AND_TWO, *DTRAIN, *flags, shell.run.script(WORK))
    shell.wait_for(log, "works", 4)
    return process, log


def test_a_rank_killed_on_the_second_node_is_named(slurm, shell):
    process, log = working(shell)
    pid = int(re.search(r"works 3 \S+ (\d+)", log.read_text())[1])
    os.kill(pid, signal.SIGKILL)
    assert process.wait(30) == 137
    assert "dtrain: rank 3 of 4 failed: killed by SIGKILL (signal 9)" in log.read_text()
    assert f"  host {list(slurm.nodes)[1]}, pid {pid}" in log.read_text()


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_a_cancelled_allocation_is_said(slurm, shell, launcher):
    process, log = working(shell, "--quiet", "--launcher", launcher)
    slurm.ask("scancel", "--user=root")
    assert process.wait(40) != 0
    text = log.read_text()
    assert "of 4 ran on " in text or "of 4 lost: " in text or "failed: " in text, text
    assert "Slurm may have ended the job: cancelled, over its time limit, or a node failed" in text, text


def test_a_job_outlives_the_slurmd_of_a_node(slurm, shell):
    """Slurm's daemon starts ranks and does not carry them."""
    process, log = shell.start("salloc", *TWO_AND_TWO, *DTRAIN, "--quiet", shell.run.script(WORK), "3")
    shell.wait_for(log, "works", 4)
    second = list(slurm.nodes)[1]
    slurm.kill_node(second)
    try:
        assert process.wait(30) == 0, log.read_text()
    finally:
        slurm.start_node(second)
        slurm.wait(lambda: slurm.ask("sinfo", "-h", "-o", "%D %t") == "2 idle", "two idle nodes")
    assert log.read_text().count("done") == 4


def test_a_lost_node_is_named(slurm, shell):
    """Its slurmd and what carries the step are gone; Slurm gives it up after a while, and says so."""
    process, log = working(shell, "--quiet", "--launcher", "srun")
    second = list(slurm.nodes)[1]
    for pid in slurm.carriers(second):
        os.kill(pid, signal.SIGKILL)
    slurm.kill_node(second)
    try:
        assert process.wait(60) != 0
        text = log.read_text()
        assert f"dtrain: ranks 2, 3 of 4 lost: srun's daemon on {second} is gone, or the way to it" in text, text
        assert f"Node failure on {second}" in text, text
    finally:
        slurm.start_node(second)
        slurm.wait(lambda: slurm.ask("sinfo", "-h", "-o", "%D %t") == "2 idle", "two idle nodes", 60)
