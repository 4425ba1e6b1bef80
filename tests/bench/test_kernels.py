"""The kernel benchmark: every compiled op has workloads, every workload runs, and the report adds up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dtrain.base.dtype import float32, float64
from dtrain.bench.benchmarks.kernels import select
from dtrain.bench.command import bench
from dtrain.bench.kernels.timing import measure
from dtrain.bench.kernels.workloads import workloads
from dtrain.graph.calls import problem_of
from dtrain.kernels import all_kernels, candidates, reference_of
from dtrain.kernels.call import Call, outputs_of
from dtrain.kernels.workspace import with_workspace
from dtrain.launcher.plan.spec import UsageError


def test_every_compiled_op_has_workloads() -> None:
    timed = {workload.op for workload in workloads()}
    compiled = {
        candidate.op for candidate in all_kernels() if not candidate.is_reference and candidate.device_kind == "cpu"
    }
    assert not compiled - timed, "add a large call to those of the op"


@pytest.mark.parametrize("workload", list(workloads()), ids=lambda w: f"{w.op} {w.label}")
def test_a_workload_is_a_valid_call(workload: Call) -> None:
    problem = problem_of(workload, float32)
    listed = candidates(problem)
    assert listed[-1] is reference_of(workload.op)
    if len(listed) > 1:
        inputs, outputs = workload.make_inputs(float32.numpy), outputs_of(problem)
        function = with_workspace(listed[0].function, listed[0].workspace_nbytes(problem))
        function(*inputs, out=outputs[0] if len(outputs) == 1 else tuple(outputs), **workload.attrs)
        assert all(np.isfinite(output).all() for output in outputs)


def test_timings() -> None:
    (small, _) = select(["softmax_cross_entropy"])
    timings = list(measure(small, float64, repeats=3))
    assert timings[-1].kernel == "softmax_cross_entropy_reference"
    assert timings[-1].speedup_over_reference == 1.0
    nbytes = 64 * 10 * 8 * 2 + 64 * 8 * 2
    for timing in timings:
        assert timing.gigabytes_per_second == pytest.approx(nbytes / timing.microseconds / 1e3)


def test_command_line(capsys, tmp_path) -> None:
    files = ["--json", str(tmp_path / "t.json"), "--html", str(tmp_path / "t.html")]
    assert bench(["kernels", "--op", "batch_norm_merge", "--repeats", "2", *files]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "t.json").read_text())
    assert [row["kernel"] for row in record["rows"]][-1] == "batch_norm_merge_reference"
    assert all(row["kernel"] in printed for row in record["rows"])
    assert all(row["kernel"] in (tmp_path / "t.html").read_text() for row in record["rows"])


def test_unknown_op() -> None:
    with pytest.raises(UsageError, match=r"--op: expected one of .*adam_update"):
        bench(["kernels", "--op", "nothing"])
