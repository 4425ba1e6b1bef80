"""Scratch memory: what a candidate asks for is what its call uses, and no more; what is lent is one call's."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from helpers.kernel_cases import all_calls, call
from helpers.kernel_checks import COMPILED
from helpers.kernel_threads import kernel_threads

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.dtype import float32
from dtrain.graph.calls import problem_of
from dtrain.kernels import all_kernels, candidates
from dtrain.kernels.call import outputs_of
from dtrain.kernels.workspace import Workspace, with_workspace


def planned(nbytes: int) -> np.ndarray:
    """As a memory plan places it: aligned, and followed by bytes that are another's."""
    raw = np.full(nbytes + 2 * ALIGNMENT, 7, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


WITH_WORKSPACE = sorted({kernel.op for kernel in all_kernels() if kernel.workspace and kernel.device_kind == "cpu"})


def test_kernels_with_a_workspace_are_bound_to_their_arrays() -> None:
    """NumPy's products between compiled kernels, and kernels that are compiled whole."""
    kernels = [kernel for kernel in COMPILED if kernel.workspace is not None]
    assert all(kernel.binder is not None for kernel in kernels)
    if COMPILED:
        assert {"conv2d", "conv2d_backward_data", "conv2d_backward_weights", "softmax"} <= set(WITH_WORKSPACE)


@pytest.mark.parametrize("op", WITH_WORKSPACE)
def test_a_planned_workspace_gives_the_same_bits(op: str) -> None:
    """On one thread: with room for several parts, less room is for fewer of them."""
    with kernel_threads(1):
        check_planned_workspaces(op)


def check_planned_workspaces(op: str) -> None:
    uses = 0
    for case in all_calls(op):
        inputs, problem = case.make_inputs(float32.numpy), problem_of(case, float32)
        for candidate in candidates(problem):
            nbytes = candidate.workspace_nbytes(problem)
            if nbytes == 0:
                continue
            uses += 1
            own, given = outputs_of(problem), outputs_of(problem)
            call(with_workspace(candidate.function, nbytes), inputs, own, case.attrs)
            out = given[0] if len(given) == 1 else tuple(given)
            candidate.bind(inputs, out, dict(case.attrs), planned(nbytes))()
            for one, other in zip(own, given, strict=True):
                assert one.tobytes() == other.tobytes(), (case.label, candidate.name)
            with pytest.raises(ValueError, match="workspace: expected at least"):
                candidate.bind(inputs, out, dict(case.attrs), planned(nbytes - ALIGNMENT))()
            with pytest.raises(ValueError, match="got 0: plan what"):
                call(candidate.function, inputs, given, case.attrs)
    assert uses > 10


def test_pieces_do_not_overlap_and_are_aligned() -> None:
    cut = Workspace(planned(3 * ALIGNMENT))
    first, second = cut.take("a", (5, 3), np.float32), cut.take("b", (2,), np.float64)
    assert not np.shares_memory(first, second)
    assert second.ctypes.data % ALIGNMENT == 0 and second.ctypes.data - first.ctypes.data == ALIGNMENT
    assert np.shares_memory(cut.take("a", (2,), np.float32), first)
    with pytest.raises(ValueError, match="workspace: expected at least 256 bytes, got 192: plan what"):
        cut.take("c", (16,), np.float64)


# Lent -----------------------------------------------------------------------------------------------------------------


def lending(nbytes: int, then: Callable[[], object] = lambda: None) -> Callable[[], np.ndarray]:
    """A call that says which workspace it was lent, after doing something else."""

    def kernel(*, workspace: np.ndarray) -> np.ndarray:
        then()
        return workspace

    return with_workspace(kernel, nbytes)


def test_a_kernel_without_a_workspace_is_called_as_it_is() -> None:
    assert with_workspace(np.add, 0) is np.add


def test_calls_one_after_another_are_lent_the_same_memory() -> None:
    first, second = lending(3000)(), lending(1000)()
    assert (first.nbytes, second.nbytes) == (3000, 1000)
    assert first.ctypes.data == second.ctypes.data and first.ctypes.data % ALIGNMENT == 0


def test_the_pool_grows_to_the_largest_call() -> None:
    size = lending(1000)().base.nbytes
    grown = lending(size + 1)()
    assert grown.nbytes == size + 1
    assert np.shares_memory(lending(1000)(), grown)


def test_a_call_inside_another_is_lent_other_memory() -> None:
    """A signal handler may compute while a kernel does."""
    inner: list[np.ndarray] = []
    outer = lending(2000, lambda: inner.append(lending(4000)()))()
    assert not np.shares_memory(outer, inner[0])


def test_memory_comes_back_from_a_call_that_fails() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    before = lending(1000)()
    with pytest.raises(ZeroDivisionError):
        lending(1000, fail)()
    assert np.shares_memory(lending(1000)(), before)


def test_threads_are_lent_memory_of_their_own() -> None:
    theirs: list[np.ndarray] = []
    mine = lending(1000, lambda: None)()
    thread = threading.Thread(target=lambda: theirs.append(lending(1000)()))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
