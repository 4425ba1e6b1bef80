"""The benchmark of CUDA kernels: rows that have a workload are timed beside the reference (on the emulation here)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda

from dtrain.base.dtype import float32
from dtrain.bench.kernels import gpu as bench
from dtrain.bench.kernels.workloads import workloads
from dtrain.kernels.call import Call
from dtrain.kernels.cuda.table import TABLE

pytestmark = pytest.mark.emulation


@pytest.fixture(scope="module", autouse=True)
def _emulated() -> Iterator[None]:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    with emulated_cuda():
        yield


def _smallest(op: str) -> Call | None:
    of_op = [workload for workload in workloads() if workload.op == op]

    def elements(workload: Call) -> int:
        return sum(array.size for array in workload.make_inputs(float32.numpy))

    return min(of_op, key=elements, default=None)


@pytest.mark.parametrize("op", ["softmax_cross_entropy", "sgd_update"])
def test_a_kernel_is_timed_beside_its_reference(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LAUNCHES", 1)
    workload = _smallest(op)
    assert workload is not None
    timings = list(bench.measure_on_gpu(workload, float32, repeats=1))
    assert [timing.kernel for timing in timings] == [f"{op}_f32_cuda", f"{op}_reference"]
    assert all(timing.microseconds > 0 and timing.gigabytes_per_second > 0 for timing in timings)
    assert timings[-1].speedup_over_reference == 1


def test_the_ops_of_the_table_have_workloads() -> None:
    # What adding at places costs shows in the ops that use it.
    assert {row.op for row in TABLE} - {workload.op for workload in workloads()} <= {"add_at", "range_check"}
