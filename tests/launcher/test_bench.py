"""`dtrain bench`: handing on to a benchmark, alone and as ranks."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from dtrain.launcher import bench as bench_module
from dtrain.launcher import bench_output
from dtrain.launcher.bench import BENCHMARKS, _without_launch_flags, bench
from dtrain.launcher.flags import UsageError


@pytest.fixture
def fake(monkeypatch):
    """A benchmark that keeps what it was given and returns 3."""
    seen = []

    def add_arguments(parser):
        parser.add_argument("-b", "--begin", default="8")

    def run(args):
        seen.append(args)
        return 3

    module = SimpleNamespace(add_arguments=add_arguments, run=run)
    monkeypatch.setattr(bench_module, "_module_of", lambda name: module)
    return seen


def test_alone(fake):
    assert bench(["all_reduce", "-b", "64"]) == 3
    assert fake[0].begin == "64"


def test_wrong_flags(fake):
    with pytest.raises(UsageError, match="dtrain bench step: unrecognized arguments: --nope"):
        bench(["step", "--nope"])
    with pytest.raises(UsageError, match="expected a number of at least 1, got -2"):
        bench(["step", "-np", "-2"])


def test_as_ranks(fake, monkeypatch):
    launched = []
    monkeypatch.setattr("dtrain.launcher.run.run", lambda arguments, env: launched.append(list(arguments)) or 0)
    assert bench(["all_reduce", "-np", "2", "--launcher=local", "-b", "64"]) == 0
    assert launched == [
        [
            "-np",
            "2",
            "--launcher",
            "local",
            "--no-tag",
            "--quiet",
            "-m",
            "dtrain.launcher.bench",
            "all_reduce",
            "-b",
            "64",
        ]
    ]
    assert fake == []


def test_launch_flags_are_taken_out():
    assert _without_launch_flags(["-np", "2", "-n", "5", "--launcher=ray", "-e", "4K"]) == ["-n", "5", "-e", "4K"]
    assert _without_launch_flags(["-np", "2", "-b", "8", "--launcher", "ray", "--num-proc=3"]) == ["-b", "8"]


def test_help_and_names(capsys):
    assert bench([]) == 2
    assert bench(["--help"]) == 0
    assert ", ".join(BENCHMARKS) in capsys.readouterr().out
    with pytest.raises(UsageError, match=f"expected one of {', '.join(BENCHMARKS)}, got 'latency'"):
        bench(["latency"])
    assert "dtrain.collectives" not in bench_module.__dict__
    assert sys.modules["dtrain.launcher.bench"] is bench_module


def test_output_passes_whole_beside_a_peer(capsys, tmp_path, monkeypatch):
    """A small run of the real thing; speed and memory are for the benchmark itself, on a machine that is quiet."""
    monkeypatch.setattr(bench_output, "find_mpirun", lambda: None)
    assert bench(["output", "-np", "2", "--launcher", "local", "--megabytes", "4", "-J", str(tmp_path / "rows")]) == 0
    record = json.loads((tmp_path / "rows").read_text())
    assert [row["shape"] for row in record["rows"]] == ["short lines", "lines of 10,000", "one line"]
    assert all(row["megabytes"] >= 4 and row["seconds"] > 0 and row["peak_memory_mib"] < 100 for row in record["rows"])
    assert record["stop_with_paused_reader_seconds"] < 5
    assert "short lines" in capsys.readouterr().out
    with pytest.raises(UsageError, match="expected --megabytes of at least 1, got 0"):
        bench(["output", "--megabytes", "0"])
