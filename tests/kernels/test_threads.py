"""Threads that share a call: no result depends on how many there are, and they are the ones that compute."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.kernel_cases import call
from helpers.kernel_checks import COMPILED, applicable_cases, dtype_of, outputs_for, run
from helpers.kernel_threads import kernel_threads

import dtrain as dt
from dtrain.base.cores import THREAD_VARIABLES
from dtrain.base.dtype import from_numpy
from dtrain.bench.kernels.workloads import workloads
from dtrain.graph.calls import problem_of
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.workspace import with_workspace

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled module is not built")

BEST = max((candidate.isa for candidate in COMPILED), key=list(INSTRUCTION_SETS).index, default="")
KERNELS = [candidate for candidate in COMPILED if candidate.isa == BEST]

# Calls that one thread computes, and why.
ALONE = {
    "batch_norm_merge": "a few numbers",
    "batch_norm_moments": "a few numbers",
    "batch_norm_update_running": "a few numbers",
    "rank_order_reduce": "ranks divide the cores and the elements already",
}
ALONE_BY = {
    "backward_weights_f32_winograd": "one sum over all images, computed anew where it is not finite",
    "columns": "one row of numbers for all of an image",
}


def is_alone(candidate) -> bool:
    return candidate.op in ALONE or any(f"{by}_" in candidate.name for by in ALONE_BY)


@pytest.mark.parametrize("candidate", KERNELS, ids=lambda candidate: candidate.name)
def test_no_bit_depends_on_the_number_of_threads(candidate) -> None:
    """Calls are cut as small as they can be: sizes that are no multiple of anything, and fewer units than threads."""
    for case, inputs in applicable_cases(candidate, most_further=25):
        wanted = outputs_for(case, candidate)
        run(candidate, case, inputs, wanted)
        for threads in (2, 7):
            outputs = outputs_for(case, candidate)
            with kernel_threads(threads, least_bytes=16):
                run(candidate, case, inputs, outputs)
            for got, one in zip(outputs, wanted, strict=True):
                assert got.tobytes() == one.tobytes(), (threads, case.label or case.inputs)


LARGE = {}
for _case in workloads():
    LARGE.setdefault(_case.op, []).append(_case)


@pytest.mark.parametrize(
    "candidate", [c for c in KERNELS if c.name.endswith(f"_{BEST}") and "f32" in c.name], ids=lambda c: c.name
)
def test_large_calls_are_shared(candidate) -> None:
    """At the sizes that the benchmark times; those that are not shared are listed with a reason."""
    module = compiled_module()
    dtype = from_numpy(dtype_of(candidate))
    shared, tried = 0, 0
    for case in LARGE.get(candidate.op, []):
        problem = problem_of(case, dtype)
        if not candidate.usable(problem):
            continue
        tried += 1
        with kernel_threads(2):
            inputs, outputs = case.make_inputs(dtype.numpy), outputs_for(case, candidate)
            for _ in range(20):  # the other thread may come too late for its part, and then has none
                before = module.parts_run_by_pool()
                run(candidate, case, inputs, outputs)
                if module.parts_run_by_pool() > before:
                    shared += 1
                    break
    assert (shared == 0) if is_alone(candidate) else (shared > 0 or not tried)


def convolve(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return dt.functional.conv2d(dt.tensor(x), dt.tensor(w), padding=1).numpy()


def test_threads_of_python_that_compute_at_once_share_nothing_wrongly() -> None:
    """One of them has the pool; the others compute their parts themselves."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((4, 32, 28, 28), np.float32), rng.standard_normal((48, 32, 3, 3), np.float32)
    inputs = [x + i for i in range(5)]
    wanted = [convolve(each, w) for each in inputs]
    got: dict[tuple[int, int], np.ndarray] = {}

    def compute(thread: int) -> None:
        for turn in range(6):
            got[thread, turn] = convolve(inputs[thread], w)

    with kernel_threads(3):
        threads = [threading.Thread(target=compute, args=(i,)) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(got) == 30
    for (thread, _), result in got.items():
        assert result.tobytes() == wanted[thread].tobytes()


def test_many_calls_that_follow_each_other() -> None:
    """A thread that wakes late for one call must not take a part of the next one for its own."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4096).astype(np.float32)
    candidate = next(c for c in KERNELS if c.name == f"sigmoid_f32_{BEST}")
    wanted = np.empty_like(x)
    call(candidate.function, [x], [wanted], {})
    with kernel_threads(5, least_bytes=16):
        for _ in range(3000):
            out = np.zeros_like(x)
            call(candidate.function, [x], [out], {})
            assert out.tobytes() == wanted.tobytes()


def test_a_workspace_that_was_planned_for_fewer_threads_is_enough() -> None:
    candidate = next(c for c in KERNELS if c.name == f"conv2d_f32_direct_{BEST}")
    case, inputs = next(
        (case, inputs)
        for case, inputs in applicable_cases(candidate)
        if inputs[0].shape[0] > 1 and inputs[0].size > 100
    )
    problem = problem_of(case, from_numpy(dtype_of(candidate)))
    wanted, got = outputs_for(case, candidate), outputs_for(case, candidate)
    run(candidate, case, inputs, wanted)
    nbytes = candidate.workspace_nbytes(problem)
    with kernel_threads(4, least_bytes=16):
        assert candidate.workspace_nbytes(problem) == 2 * nbytes, "two images, and one pair of blocks of outputs"
        call(with_workspace(candidate.function, nbytes), inputs, got, case.attrs)
    assert got[0].tobytes() == wanted[0].tobytes()


def in_a_process(code: str, threads: int = 3) -> str:
    env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    done = subprocess.run([sys.executable, "-c", code], env=env, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
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
    for _ in range(200):
        before = module.parts_run_by_pool()
        result = compute()
        if module.parts_run_by_pool() > before:
            return result
    raise AssertionError("nothing was shared")
"""


def test_the_number_is_that_of_the_environment_and_of_set_num_threads() -> None:
    code = (
        COMPUTE
        + "print(module.num_threads()); dt.set_num_threads(2); print(module.num_threads(), dt.get_num_threads())"
    )
    assert in_a_process(code).split() == ["3", "2", "2"]


def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    code = (
        COMPUTE
        + """
wanted = compute_shared()
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    os._exit(0 if compute_shared() == wanted else 1)
assert compute_shared() == wanted
assert os.waitpid(child, 0)[1] == 0
"""
    )
    in_a_process(code)


def test_threads_of_the_pool_take_no_signals() -> None:
    """Python's handlers run on its main thread, which a signal to the process has to interrupt."""
    code = (
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
    )
    assert in_a_process(code).split() == ["2"]


MULTIPLY = (
    COMPUTE
    + """
import threading
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 700, 700))
def multiply():
    return a @ b
"""
)


def test_blas_computes_on_our_threads() -> None:
    """It has none of its own that run, and its results are the same."""
    code = (
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
    in_a_process(code)


def test_products_of_several_threads_of_python_wait_for_each_other() -> None:
    """Jobs of one product wait for each other's pieces in one set of buffers; beside them kernels compute."""
    code = (
        MULTIPLY
        + """
wanted, sigmoid = multiply(), compute()
wrong = []
def work(number):
    for _ in range(20):
        if number % 2 and compute() != sigmoid or not np.allclose(multiply(), wanted, rtol=1e-12, atol=1e-10):
            wrong.append(number)
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong
"""
    )
    in_a_process(code)


def test_factorizations_of_blas_run_beside_products() -> None:
    """They are computed by threads of BLAS's own, and must not take the places of ours."""
    code = (
        MULTIPLY
        + """
wanted, solved = multiply(), np.linalg.solve(a, b)
wrong = []
def work(number):
    for _ in range(15):
        got = np.linalg.solve(a, b) if number % 2 else multiply()
        if not np.allclose(got, solved if number % 2 else wanted, rtol=1e-6, atol=1e-6):
            wrong.append(number)
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong
"""
    )
    in_a_process(code)


def test_a_fork_during_a_call_waits_for_it() -> None:
    """A product of BLAS is another matter: a lock of its own is held for ever in a child that is forked meanwhile."""
    code = (
        COMPUTE
        + """
import threading
wanted = compute_shared()
warnings.simplefilter("ignore")
ends = False
def work():
    while not ends: assert compute() == wanted
thread = threading.Thread(target=work)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if compute_shared() == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0
ends = True
thread.join()
"""
    )
    in_a_process(code)


def test_blas_has_threads_in_a_process_that_was_forked() -> None:
    code = (
        MULTIPLY
        + """
wanted = multiply()
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    before = module.parts_run_by_pool()
    right = np.array_equal(multiply(), wanted) and module.parts_run_by_pool() > before
    os._exit(0 if right else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    in_a_process(code)


def test_all_threads_round_as_their_caller_does() -> None:
    code = (
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
    in_a_process(code)


def test_a_call_that_is_not_worth_it_starts_no_thread() -> None:
    code = (
        "import numpy; from pathlib import Path; import dtrain as dt\n"
        "for _ in range(50): dt.functional.sigmoid(dt.tensor(numpy.ones(1 << 18, numpy.float32)))\n"
        "print([p.read_text() for p in Path('/proc/self/task').glob('*/comm')].count('dtrain kernels\\n'))"
    )
    assert in_a_process(code).split() == ["0"]


def test_sources_say_what_is_not_shared() -> None:
    """Families none of whose calls are shared."""
    folder = Path(__file__).parents[2] / "kernels" / "cpu"
    without = {path.parent.name for path in folder.glob("*/bind.cpp") if "binding/share.h" not in path.read_text()}
    assert without == {"rank_order"}
