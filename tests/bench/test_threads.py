"""The benchmark of threads: rows of the counts asked for, and other threads do compute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dtrain.bench.benchmarks import threads
from dtrain.bench.command import bench
from dtrain.launcher.plan.spec import UsageError


def test_a_row_for_each_count(tmp_path: Path) -> None:
    """In a process of its own, since the most threads are fixed before anything is imported."""
    written = tmp_path / "rows.json"
    command = [sys.executable, "-m", "dtrain.cli", "bench", "threads", "--model", "digits_cnn", "--batch-size", "64"]
    command += ["--counts", "2,3", "--turns", "2", "--turn-seconds", "0.01", "-J", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["digits_cnn,", "threads", "1", "2", "3"]
    rows = json.loads(written.read_text())["rows"]
    assert [row["threads"] for row in rows] == [1, 2, 3]
    assert (rows[0]["speed"], rows[0]["of_ideal"]) == (1.0, 1.0)
    assert all(0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"] for row in rows)


def test_without_counts_it_is_one_thread_and_every_core(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    assert bench(["threads", "--model", "mlp", "--batch-size", "2", "--turns", "1", "--turn-seconds", "0"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["mlp,", "threads", "1"]


@pytest.mark.parametrize("counts", ["0", "1,two", "", "-1"])
def test_counts_that_are_none_are_refused(counts: str) -> None:
    with pytest.raises(UsageError, match="whole numbers of at least 1"):
        bench(["threads", f"--counts={counts}"])
