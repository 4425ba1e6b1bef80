"""`ray job submit` to a real head node: the thread count that Ray sets for a job is not taken for the user's."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.hosts import end_processes, inside, make_hosts, short_folder

from dtrain.base.cores import usable_cores

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("ray", "aiohttp_cors")),
        reason="Ray's job server is not installed (extra `ray-jobs`)",
    ),
]

THREADS = """
import os
import dtrain.collectives as dist

world = dist.init(timeout=60)
print("rank", world.rank, "of", world.size, "has", os.environ["OMP_NUM_THREADS"], flush=True)
"""


class Head:
    """A Ray cluster of one node, alone in its network, with a server of jobs."""

    def __init__(self, name, folder, env):
        self.name = name
        self.env = env
        self.log = folder / "head.log"
        self.server = "http://127.0.0.1:8265"
        # More CPUs than ranks; Ray starts a worker beforehand for each.
        words = ["start", "--head", "--block", "--num-cpus=2", "--port=6399", "--disable-usage-stats"]
        with self.log.open("w") as log:
            command = self.command(*words, "--include-dashboard=true", f"--temp-dir={folder}")
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)

    def command(self, *words):
        return [*inside(self.name), str(Path(sys.executable).with_name("ray")), *words]

    def ask(self, *words, timeout=30):
        return subprocess.run(self.command(*words), env=self.env, capture_output=True, text=True, timeout=timeout)

    def wait(self):
        """Until the server of jobs answers."""
        until = time.monotonic() + 60
        while self.ask("job", "list", "--address", self.server).returncode != 0:
            assert time.monotonic() < until and self.process.poll() is None, self.log.read_text()
            time.sleep(0.5)

    def stop(self):
        end_processes([self.process])


@pytest.fixture
def head(run):
    with short_folder("ray-") as folder, make_hosts(1) as site:
        head = Head(next(iter(site.hosts.values())), folder, run.env | {"RAY_AUTH_MODE": "disabled"})
        try:
            head.wait()
            yield head
        finally:
            head.stop()


def test_a_submitted_job_has_the_threads_of_its_cores(run, head):
    """Ray sets OMP_NUM_THREADS=1 for what it starts without CPUs of its own; what the user sets for the job stays."""
    seen = {}
    for name, variables in (("of Ray", {}), ("of the user", {"OMP_NUM_THREADS": "3"})):
        job = [sys.executable, "-m", "dtrain.cli", "run", "--launcher", "ray", "-np", "1", run.script(THREADS)]
        environment = ["--runtime-env-json", json.dumps({"env_vars": variables})]
        done = head.ask("job", "submit", "--address", head.server, *environment, "--", *job, timeout=120)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        seen[name] = [line.split()[-1] for line in said.splitlines() if "rank 0 of 1 has" in line]
        assert ("as you set" in said) is bool(variables), said
    assert seen == {"of Ray": [str(usable_cores())], "of the user": ["3"]}
