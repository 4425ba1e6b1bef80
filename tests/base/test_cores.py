"""Cores of this process, their share for a rank, and thread counts set in libraries that are loaded already."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dtrain.base.cores import THREAD_VARIABLES, share_of_cores, usable_cores
from dtrain.base.library_threads import num_threads

pytestmark = pytest.mark.alone


def test_usable_cores():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, 4),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "16"}, 16),
        ({"OPENBLAS_NUM_THREADS": "1"}, 4),
        ({"OMP_NUM_THREADS": "0"}, 4),
        ({"OMP_NUM_THREADS": "²"}, 4),
    ],
)
def test_threads_by_the_variables_that_say_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr("dtrain.base.cores.cpu_quota", lambda: 4)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert num_threads() == threads


@pytest.mark.parametrize(
    ("mine", "num_cores", "masks", "threads"),
    [
        (range(8), 8, [range(8)] * 2, 4),
        (range(8), 8, [range(8)] * 3, 2),
        (range(8), 3, [range(8)], 3),  # a quota
        ([0], 8, [[0], [1]], 1),  # bound
        (range(4), 8, [range(4), range(4, 8)], 4),  # masks that do not meet
        (range(2), 2, [range(2)] * 5, 1),
    ],
)
def test_share(mine, num_cores, masks, threads):
    assert share_of_cores(mine, num_cores, masks) == threads


def test_numpy_that_is_loaded_takes_the_count():
    code = """
import os, sys
import numpy as np
from pathlib import Path
from dtrain.base.library_threads import set_num_threads
called = set_num_threads(1)
assert called or "openblas" not in Path("/proc/self/maps").read_text(), "OpenBLAS is there and was not told"
assert {os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
import time
a = np.ones((700, 700))
begin, used = time.perf_counter(), time.process_time()
for _ in range(8):
    a @ a
busy = (time.process_time() - used) / (time.perf_counter() - begin)
assert busy < 1.2, busy  # cores in use
"""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=60)
