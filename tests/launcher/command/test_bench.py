"""`dtrain bench`: handing on to a benchmark, alone and as ranks."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from dtrain.launcher.command import bench as bench_module
from dtrain.launcher.command import bench_output
from dtrain.launcher.command.bench import BENCHMARKS, bench
from dtrain.launcher.command.flags import SPELLINGS, TeachingParser, parse_run
from dtrain.launcher.plan.spec import UsageError

pytestmark = pytest.mark.alone


@pytest.fixture
def fake(monkeypatch):
    """A benchmark that keeps what it was given and returns 3."""
    seen = []

    def add_arguments(parser):
        parser.add_argument("-b", "--begin", default="8")
        parser.add_argument("-n", "--iterations", default="5")

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
    for number in ("-2", "0"):
        with pytest.raises(UsageError, match=f"expected a whole number of at least 1, got '{number}'"):
            bench(["step", "-np", number])
    with pytest.raises(UsageError, match="-np: expected a value, got nothing"):
        bench(["step", "-np"])
    assert fake == []


@pytest.mark.parametrize(
    ("given", "launch", "own"),
    [
        (["-np", "2", "--launcher=local", "-b", "64"], ["--num-proc=2", "--launcher=local"], ["-b", "64"]),
        (["-b", "8", "-H", "a:1", "--mpi-args", "--tag x"], ["--hosts=a:1", "--mpi-args=--tag x"], ["-b", "8"]),
        (["-x", "A=1", "--timeout", "9", "-N2"], ["--x=A=1", "--timeout=9", "--nproc-per-node=2"], []),
        (["-np", "2", "-n", "5"], ["--num-proc=2"], ["-n", "5"]),
    ],
)  # fmt: skip
def test_as_ranks(fake, monkeypatch, given, launch, own):
    """Every flag of `dtrain run` is taken, but one that the benchmark has itself is its own."""
    launched = []
    monkeypatch.setattr("dtrain.launcher.command.run.run", lambda arguments, env: launched.append(list(arguments)) or 0)
    assert bench(["all_reduce", *given]) == 0
    assert launched == [["--no-tag", "--quiet", *launch, "-m", "dtrain.launcher.command.bench", "all_reduce", *own]]
    assert fake == []
    assert parse_run(launched[0], {}).arguments == ("all_reduce", *own)


def test_every_flag_of_run_is_taken():
    parser = TeachingParser()
    for spelling, flag in SPELLINGS.items():
        given = [spelling] if flag.is_switch else [spelling, "1"]
        launch, own = bench_module._sorted_flags(parser, [*given, "-b", "8"])
        assert launch == [f"--{flag.name}" if flag.is_switch else f"--{flag.name}=1"] and own == ["-b", "8"]


def test_help_and_names(capsys):
    assert bench([]) == 2
    assert bench(["--help"]) == 0
    assert ", ".join(BENCHMARKS) in capsys.readouterr().out
    with pytest.raises(UsageError, match=f"expected one of {', '.join(BENCHMARKS)}, got 'latency'"):
        bench(["latency"])
    assert "dtrain.collectives" not in bench_module.__dict__
    assert sys.modules["dtrain.launcher.command.bench"] is bench_module


def test_output_passes_whole_beside_a_peer(capsys, tmp_path, monkeypatch):
    """A small run of the real thing; speed and memory are for the benchmark itself, on a machine that is quiet."""
    monkeypatch.setattr(bench_output, "find_mpirun", lambda: None)
    assert bench(["output", "-np", "2", "--launcher", "local", "--megabytes", "4", "-J", str(tmp_path / "rows")]) == 0
    record = json.loads((tmp_path / "rows").read_text())
    assert [row["shape"] for row in record["rows"]] == ["short lines", "lines of 10,000", "one line"]
    assert all(
        row["megabytes"] >= 4 and row["seconds"] > 0 and 0 < row["peak_memory_mib"] < 100 for row in record["rows"]
    )
    assert record["stop_with_paused_reader_seconds"] < 5
    assert "short lines" in capsys.readouterr().out
    with pytest.raises(UsageError, match="expected --megabytes of at least 1, got 0"):
        bench(["output", "--megabytes", "0"])
