"""The threads of kernels in a process: how many, BLAS on them, after a fork, signals, rounding."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from dtrain.base.cores import THREAD_VARIABLES
from dtrain.kernels.compiled_module import compiled_module

pytestmark = pytest.mark.skipif(compiled_module() is None, reason="the compiled module is not built")

KEEPS_ITS_OWN = "BLAS keeps its own threads"


def in_a_process(code: str) -> str:
    """What it prints, on three threads."""
    env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "3")}
    done = subprocess.run([sys.executable, "-c", code], env=env, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith(KEEPS_ITS_OWN):
        assert np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"] != "scipy-openblas", (
            "of NumPy's wheels"
        )
        pytest.skip(done.stdout)
    return done.stdout


COMPUTE = """
import os, warnings
import numpy as np
import dtrain as dt
from dtrain.kernels.compiled_module import compiled_module

module = compiled_module()
x = dt.tensor(np.linspace(-1, 1, 1 << 20, dtype=np.float32))

def compute():
    return dt.functional.sigmoid(x).numpy().tobytes()

def compute_shared():
    for _ in range(5000):  # few are where other processes have the cores
        before = module.parts_run_by_pool()
        result = compute()
        if module.parts_run_by_pool() > before:
            return result
    raise AssertionError("nothing was shared")

def is_right_in_a_child(check):
    warnings.simplefilter("ignore")  # that a process with threads forks
    child = os.fork()
    if child == 0:
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0
"""


def test_the_number_is_that_of_the_environment_and_of_set_num_threads() -> None:
    code = (
        COMPUTE
        + "compute(); print(module.num_threads()); dt.set_num_threads(2)\n"
        + "print(module.num_threads(), dt.get_num_threads())"
    )
    assert in_a_process(code).split() == ["3", "2", "2"]


def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    in_a_process(
        COMPUTE
        + """
wanted = compute_shared()
assert is_right_in_a_child(lambda: compute_shared() == wanted)
assert compute_shared() == wanted
"""
    )


def test_threads_of_the_pool_take_no_signals() -> None:
    """Python's handlers run on its main thread, which a signal to the process has to interrupt."""
    assert in_a_process(
        COMPUTE
        + """
import signal
from pathlib import Path
compute_shared()
mine = [task for task in Path("/proc/self/task").iterdir() if (task / "comm").read_text() == "dtrain kernels\\n"]
for task in mine:
    line = next(line for line in (task / "status").read_text().splitlines() if line.startswith("SigBlk"))
    blocked = int(line.split()[1], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        assert blocked >> (number - 1) & 1, number
    assert not blocked >> (signal.SIGSEGV - 1) & 1
print(len(mine))
"""
    ).split() == ["2"]


MULTIPLY = (
    COMPUTE
    + f"""
import threading
from dtrain.base.library_threads import share_threads_with_blas
compute()  # which loads the kernels
if not share_threads_with_blas():
    print({KEEPS_ITS_OWN!r})
    raise SystemExit
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 700, 700))
def multiply():
    return a @ b

def on_four_threads(work):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
)


def test_blas_computes_on_our_threads() -> None:
    """It has none of its own that run, and its results are the same."""
    in_a_process(
        MULTIPLY
        + """
import time
from pathlib import Path
before = module.parts_run_by_pool()
product = multiply()
assert module.parts_run_by_pool() > before
dt.set_num_threads(1)
np.testing.assert_allclose(product, multiply(), rtol=1e-12, atol=1e-10)
begin, used = time.perf_counter(), time.process_time()
for _ in range(10):
    multiply()
assert (time.process_time() - used) / (time.perf_counter() - begin) < 1.2
dt.set_num_threads(2)
before = module.parts_run_by_pool()
multiply()
assert module.parts_run_by_pool() > before
"""
    )


def test_products_of_several_threads_of_python_wait_for_each_other() -> None:
    """Jobs of one product wait for each other's pieces in one set of buffers; beside them kernels compute."""
    in_a_process(
        MULTIPLY
        + """
wanted, sigmoid = multiply(), compute()
wrong = []
def work(number):
    for _ in range(20):
        if number % 2 and compute() != sigmoid or not np.allclose(multiply(), wanted, rtol=1e-12, atol=1e-10):
            wrong.append(number)
on_four_threads(work)
assert not wrong
"""
    )


def test_factorizations_of_blas_run_beside_products() -> None:
    """They are computed by threads of BLAS's own, and must not take the places of ours."""
    in_a_process(
        MULTIPLY
        + """
wanted, solved = multiply(), np.linalg.solve(a, b)
wrong = []
def work(number):
    for _ in range(15):
        got = np.linalg.solve(a, b) if number % 2 else multiply()
        if not np.allclose(got, solved if number % 2 else wanted, rtol=1e-6, atol=1e-6):
            wrong.append(number)
on_four_threads(work)
assert not wrong
"""
    )


def test_a_fork_during_a_call_waits_for_it() -> None:
    """A product of BLAS is another matter: a lock of its own is held for ever in a child that is forked meanwhile."""
    in_a_process(
        COMPUTE
        + """
import threading
wanted = compute_shared()
ends = False
def work():
    while not ends: assert compute() == wanted
thread = threading.Thread(target=work)
thread.start()
for _ in range(20):
    assert is_right_in_a_child(lambda: compute_shared() == wanted)
ends = True
thread.join()
"""
    )


def test_blas_has_threads_in_a_process_that_was_forked() -> None:
    in_a_process(
        MULTIPLY
        + """
wanted = multiply()
def multiplies_on_threads():
    before = module.parts_run_by_pool()
    return np.array_equal(multiply(), wanted) and module.parts_run_by_pool() > before
assert is_right_in_a_child(multiplies_on_threads)
"""
    )


def test_all_threads_round_as_their_caller_does() -> None:
    in_a_process(
        COMPUTE
        + """
import ctypes
to_nearest = compute_shared()
library = ctypes.CDLL("libm.so.6")
assert library.fesetround(0x800 if os.uname().machine == "x86_64" else 0x400000) == 0  # upward
upward = compute_shared()
module.set_num_threads(1)
assert upward == compute() != to_nearest
"""
    )


def test_a_call_that_is_not_worth_it_starts_no_thread() -> None:
    code = (
        "import numpy; from pathlib import Path; import dtrain as dt\n"
        "for _ in range(50): dt.functional.sigmoid(dt.tensor(numpy.ones(1 << 18, numpy.float32)))\n"
        "print([p.read_text() for p in Path('/proc/self/task').glob('*/comm')].count('dtrain kernels\\n'))"
    )
    assert in_a_process(code).split() == ["0"]
