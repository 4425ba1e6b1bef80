"""Running the real `dtrain` command in a folder of its own, with an environment that holds nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from helpers.hosts import make_hosts
from helpers.slurm_cluster import make_slurm

from dtrain.base.rank_info import ENVIRONMENTS

TIMEOUT = 60


def clean_environment():
    of_ranks = {name for row in ENVIRONMENTS for name in row.names}
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DTRAIN_", "OMPI_", "PMIX_", "RAY_")) and name not in of_ranks
    }
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        env.pop(name, None)
    return env


@dataclass
class Ended:
    code: int
    out: str
    err: str
    seconds: float


class Runner:
    """`run("-np", "2", script)`: write the script if it is a text of lines, run, return how it ended."""

    def __init__(self, folder):
        self.folder = folder
        self.env = clean_environment()
        self.before = []  # words that start the command elsewhere
        self.processes = []

    def script(self, text, name="script.py"):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def start(self, *arguments, command="run", **options):
        process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "dtrain.cli", command, *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.processes.append(process)
        return process

    def finish(self, process, begin=None):
        begin = time.monotonic() if begin is None else begin
        out, err = process.communicate(timeout=TIMEOUT)
        return Ended(process.returncode, out, err, time.monotonic() - begin)

    def __call__(self, *arguments, **options):
        return self.finish(self.start(*arguments, **options))

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def run(tmp_path):
    runner = Runner(tmp_path)
    yield runner
    runner.close()


@pytest.fixture
def run_by(run, launcher, request):
    """`run` where the launcher of the test's parameter is: srun on the login host of a Slurm."""
    if launcher != "srun":
        yield run
        return
    slurm = request.getfixturevalue("slurm")
    run.before, run.env = slurm.command(), run.env | slurm.variables
    yield run
    slurm.empty()


@pytest.fixture(scope="module")
def slurm():
    """A controller and two nodes, for the tests of a file: a process has one network of hosts at a time."""
    with make_slurm() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def site():
    """Two hosts of a network of their own, for the tests of a file."""
    with make_hosts(2) as made:
        yield made
