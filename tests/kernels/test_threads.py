"""Threads that share a call: no result depends on how many there are, and they are the ones that compute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.kernel_cases import call
from helpers.kernel_checks import COMPILED, applicable_cases, dtype_of, outputs_for, run
from helpers.kernel_threads import kernel_threads

import dtrain as dt
from dtrain.base.dtype import from_numpy
from dtrain.bench.kernels.workloads import workloads
from dtrain.graph.calls import problem_of
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.workspace import with_workspace

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled module is not built")

BEST = max((candidate.isa for candidate in COMPILED), key=list(INSTRUCTION_SETS).index, default="")
KERNELS = [candidate for candidate in COMPILED if candidate.isa == BEST]
PLAIN = [candidate for candidate in COMPILED if candidate.isa == "scalar" and BEST != "scalar"]  # other tails and tiles

# Calls that one thread computes, and why.
ALONE = {
    "batch_norm_merge": "a few numbers",
    "batch_norm_moments": "a few numbers",
    "batch_norm_update_running": "a few numbers",
    "rank_order_reduce": "ranks divide the cores and the elements already",
}
ALONE_BY = {
    "backward_weights_f32_winograd": "one sum over all images, computed anew where it is not finite",
}


def is_alone(candidate) -> bool:
    return candidate.op in ALONE or any(f"{by}_" in candidate.name for by in ALONE_BY)


@pytest.mark.parametrize("candidate", [*KERNELS, *PLAIN], ids=lambda candidate: candidate.name)
def test_no_bit_depends_on_the_number_of_threads(candidate) -> None:
    """Calls are cut as small as they can be: sizes that are no multiple of anything, and fewer units than threads."""
    for case, inputs in applicable_cases(candidate, most_further=25 if candidate.isa == BEST else 10):
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
    dtype = from_numpy(dtype_of(candidate))
    cases = [case for case in LARGE.get(candidate.op, []) if candidate.usable(problem_of(case, dtype))]
    assert cases, "it has no workload in dtrain/bench/kernels/workloads.py"
    calls = [
        partial(run, candidate, case, case.make_inputs(dtype.numpy), outputs_for(case, candidate)) for case in cases
    ]
    with kernel_threads(2):
        if is_alone(candidate):
            assert not any(is_shared(compute) for compute in calls)
        else:
            assert becomes_shared(calls)


def is_shared(compute: Callable[[], object]) -> bool:
    """Whether another thread computed a part of it."""
    before = compiled_module().parts_run_by_pool()
    compute()
    return compiled_module().parts_run_by_pool() > before


def becomes_shared(calls: list[Callable[[], object]]) -> bool:
    """Whether one is in time: the other thread may come too late for its part, where others have the cores."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if any(is_shared(compute) for compute in calls):
            return True
    return False


def test_calls_of_some_size_are_shared_with_threads_that_are_awake() -> None:
    """In the midst of a step. Those that sleep are not woken for them."""
    candidate = next(c for c in KERNELS if c.name == f"sigmoid_f32_{BEST}")
    large, small = np.ones(1 << 21, np.float32), np.ones(1 << 17, np.float32)

    def compute(x: np.ndarray) -> None:
        call(candidate.function, [x], [np.empty_like(x)], {})

    def small_behind_large() -> bool:
        compute(large)
        return is_shared(lambda: compute(small))

    with kernel_threads(2, to_wake=compiled_module().least_bytes_to_wake()):
        until = time.monotonic() + 20
        while not small_behind_large():
            assert time.monotonic() < until, "no call was shared"
        shared = 0
        for _ in range(20):
            time.sleep(0.01)  # by then it sleeps, unless the machine has kept it from that
            shared += is_shared(lambda: compute(small))
        assert shared < 20


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


def test_sources_say_what_is_not_shared() -> None:
    """Families none of whose calls are shared."""
    folder = Path(__file__).parents[2] / "kernels" / "cpu"
    without = {path.parent.name for path in folder.glob("*/bind.cpp") if "binding/share.h" not in path.read_text()}
    assert without == {"rank_order"}
