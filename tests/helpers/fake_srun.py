#!/usr/bin/env python3
"""Stands in for Slurm's srun: starts its tasks here, tells each who it is as srun does, and writes its options down.

With FAKE_SRUN_KILLS it does what Slurm's PMIx does when a rank leaves without MPI's end: SIGKILL for all tasks, here in
the order of that variable, and a line that names the rank.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

if sys.argv[1:] == ["--version"]:
    print("slurm 23.11.4")
    sys.exit(0)
words = sys.argv[1:]
# What begins with a dash is an option; --ntasks and its like have their value as the next word.
position = 0
options = {}
while words[position].startswith("-"):
    name, equals, value = words[position].partition("=")
    position += 1
    if not equals:
        value, position = words[position], position + 1
    options[name] = value
with open(os.environ["FAKE_SRUN_LOG"], "w") as log:
    json.dump(options, log)
size = int(options["--ntasks"])
step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(size)}
tasks = [
    subprocess.Popen(
        words[position:],
        env={**os.environ, **step, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"},
        start_new_session=True,
    )
    for rank in range(size)
]


def forward(number: int, _: object) -> None:
    for task in tasks:
        task.send_signal(number)


def kill_all_for_one(rank: int, order: list[int]) -> None:
    """Wait for the end of a rank's process, the child of a task."""
    pid = tasks[rank].pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (child := children.read_text().split()):
        pass
    select.select([os.pidfd_open(int(child[0]))], [], [])
    print(f"mpi/pmix_v4: _errhandler: h [1]: Error handler invoked: status = -61, source = [slurm.pmix.7.0:{rank}]")
    sys.stdout.flush()
    for number in order:
        tasks[number].kill()
        tasks[number].wait()


if order := [int(word) for word in os.environ.get("FAKE_SRUN_KILLS", "").split(",") if word]:
    for rank in range(size):
        threading.Thread(target=kill_all_for_one, args=(rank, order), daemon=True).start()
signal.signal(signal.SIGTERM, forward)
sys.exit(max(abs(task.wait()) for task in tasks))
