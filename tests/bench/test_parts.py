"""The benchmark of the parts of a step: what is counted, what runs, and that both sides are held to one result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dtrain
from dtrain.bench.benchmarks.parts import chosen_parts
from dtrain.bench.command import bench
from dtrain.bench.parts.function import Function
from dtrain.bench.parts.memory import cache_bytes
from dtrain.bench.parts.part import bound_steps, expect_equal, runner
from dtrain.bench.parts.table import parts
from dtrain.launcher.plan.spec import UsageError

QUICK = ["--turns", "1", "--turn-seconds", "0"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the benchmark wants it, which would start this process again. Nor does this one's memory stay for good."""
    monkeypatch.setattr("dtrain.bench.benchmarks.parts.keep_freed_memory", lambda: None)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_a_row_a_size_with_what_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert bench(["parts", *QUICK, "--part", "layer_norm", "--part", "cross_entropy", "-J", str(file)]) == 0
    found = json.loads(file.read_text())
    rows = {row["label"]: row for row in found["rows"]}
    assert list(rows) == ["cross_entropy 128×1000", "cross_entropy 1024×256"] + [
        f"layer_norm 16×{length}×256" for length in (64, 256)
    ]
    row = rows["layer_norm 16×64×256"]
    x, scales = 16 * 64 * 256, 2 * 256
    forward, backward = 2 * x + scales, x + 2 * (x + scales)
    assert row["gigabytes_per_second"] == pytest.approx(4 * (forward + backward) / row["median_ms"] / 1e6)
    share = row["gigabytes_per_second"] / row["copy_gigabytes_per_second"]
    assert row["share_of_copy"] == pytest.approx(share)
    assert "layer_norm_" in row["kernels"] and "layer_norm_backward_" in row["kernels"]
    assert "geometric_mean" not in found and capsys.readouterr().out.count("of copy") == 4


def test_forward_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(["parts", *QUICK, "--part", "average_pool", "--forward"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("adaptive_avg_pool2d_") == 3 and "backward" not in printed


def test_a_function_gives_its_output_its_gradients_and_what_it_updates() -> None:
    def scaled(F: object, x: dtrain.Tensor, w: dtrain.Tensor, seen: dtrain.Tensor) -> dtrain.Tensor:
        with dtrain.no_grad():
            seen.add_(x.sum(0))
        return x * w

    part = Function("scaled", "3×2", scaled, ((3, 2), (2,)), (3, 2), leaves=2, buffers=((2,),))
    assert part.moved == 4 * (6 + 2 + 6 + 6 + 2 * (6 + 2)) and part.held == 4 * (6 + 2 + 6 + 6 + 2 + 6)
    traced, contestant = part.ours()
    (x, w), (seen,), gradient = part._arrays()
    x, w, total = x.copy(), w.copy(), seen + x.sum(0)
    expected = [x * w, gradient * w, (gradient * x).sum(0), total]
    expect_equal("scaled", contestant.results(), expected)
    runner(bound_steps(traced))()
    with pytest.raises(ValueError, match="scaled: expected PyTorch's numbers in result 3"):
        expect_equal("scaled", contestant.results(), expected)  # the third time that x is added
    assert all(step.name != "copy" for step in bound_steps(traced))


@pytest.mark.parametrize("wrong", [np.nan, 1.001])
def test_other_numbers_are_refused(wrong: float) -> None:
    expect_equal("part", [np.array([1.00005, 0])], [np.array([1.0, 0])])
    with pytest.raises(ValueError, match="part: expected PyTorch's numbers in result 0, whose largest is 1, got"):
        expect_equal("part", [np.array([wrong, 0])], [np.array([1.0, 0])])
    with pytest.raises(ValueError, match="part: expected the shape"):
        expect_equal("part", [np.zeros(2)], [np.zeros((2, 1))])


def test_labels_name_one_part_each() -> None:
    labels = [part.label for part in parts()]
    assert len(set(labels)) == len(labels)
    assert all(part.held <= part.moved for part in parts())
    assert all(part.moved > 0 for part in chosen_parts([], forward=True))


def test_caches_of_a_system_that_tells_them(tmp_path: Path) -> None:
    for index, (level, size) in enumerate((("1", "32K"), ("2", "1024K"), ("3", "32768K"))):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(level + "\n")
        (folder / "size").write_text(size + "\n")
    (tmp_path / "index4").mkdir()
    assert cache_bytes(tmp_path) == {"L2": 1 << 20, "L3": 32 << 20} and cache_bytes(tmp_path / "none") == {}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory as they like")
def test_freed_memory_is_kept() -> None:
    """Beyond a block of 16 MiB from the system, whose 4096 pages are filled the first time."""
    script = """
import resource, numpy as np
from dtrain.bench.parts.memory import keep_freed_memory
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
keep_freed_memory()
before = [np.ones(1 << 24, np.uint8).nbytes, faults()][1]
for _ in range(8):
    np.ones(1 << 24, np.uint8)
print(faults() - before)
"""
    environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) < 4096, done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--part", "conv"], "--part: expected one of batch_norm, .*, adamw, got 'conv'"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--turns", "0"], "--turns: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bench(["parts", *flags])


def test_beside_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "out.json"
    assert bench(["parts", *QUICK, "--peer", "torch", "--part", "average_pool", "--part", "sum", "-J", str(file)]) == 0
    found = json.loads(file.read_text())
    assert {row["peer"] for row in found["rows"]} <= {"PyTorch", "PyTorch channels-last"}
    for row in found["rows"]:
        assert row["peer_ways"].count("PyTorch") == (2 if row["label"].startswith("average_pool") else 1)
        assert row["speed_to_peer"] == pytest.approx(row["peer_ms"] / row["median_ms"])
    printed = capsys.readouterr().out
    assert f"geometric mean {found['geometric_mean']:.2f}x PyTorch" in printed
    assert printed.count("; PyTorch ") == 3
