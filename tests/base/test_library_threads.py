"""Thread counts of libraries that are loaded already, and BLAS on the threads of our kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dtrain.base.cores import THREAD_VARIABLES
from dtrain.base.library_threads import hand_over, num_threads

pytestmark = pytest.mark.alone


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


class Function:
    """What ctypes has for one of a library."""

    restype = None

    def __init__(self, result=None):
        self.result, self.given = result, []

    def __call__(self, *given):
        self.given += [getattr(one, "value", one) for one in given]
        return self.result


def openblas(threads: int, config: bytes) -> SimpleNamespace:
    return SimpleNamespace(
        openblas_set_threads_callback_function=Function(),
        openblas_get_config=Function(config),
        openblas_get_num_threads=Function(threads),
        openblas_set_num_threads=Function(),
    )


def kernels() -> SimpleNamespace:
    return SimpleNamespace(blas_jobs=lambda: 0x1234, set_blas_numbers=Function())


def test_blas_is_handed_our_threads() -> None:
    library, ours = openblas(2, b"OpenBLAS 0.3.31 MAX_THREADS=64"), kernels()
    assert hand_over(library, ours, "", "")
    assert library.openblas_set_threads_callback_function.given == [0x1234]
    assert ours.set_blas_numbers.given == [64]


@pytest.mark.parametrize(
    ("threads", "config"),
    [(1, b"MAX_THREADS=64"), (33, b"MAX_THREADS=64"), (2, b"MAX_THREADS=3"), (2, b"OpenBLAS of another time")],
)
def test_blas_keeps_its_own_where_ours_would_meet_them(
    monkeypatch: pytest.MonkeyPatch, threads: int, config: bytes
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", str(threads))
    library, ours = openblas(threads, config), kernels()
    assert not hand_over(library, ours, "", "")
    assert library.openblas_set_threads_callback_function.given == [None]
    assert ours.set_blas_numbers.given == []


def test_an_openblas_of_other_names_keeps_its_own() -> None:
    assert not hand_over(SimpleNamespace(openblas_get_config=Function(b"")), kernels(), "", "")


def test_blas_has_no_more_threads_than_we_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for given, counts in ((None, [2]), ("8", [])):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if given:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
        library = openblas(8, b"MAX_THREADS=64")
        assert hand_over(library, kernels(), "", "")
        assert library.openblas_set_num_threads.given == counts


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
