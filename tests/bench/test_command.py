"""`dtrain bench`: handing on to a benchmark, alone and as ranks."""

from __future__ import annotations

import json
from importlib import import_module
from types import SimpleNamespace

import pytest

from dtrain.base import module_folder
from dtrain.bench.benchmarks import output as bench_output
from dtrain.bench.command import BENCHMARKS, _sorted_flags, bench, listing
from dtrain.launcher.command.flags import SPELLINGS, TeachingParser, parse_run
from dtrain.launcher.plan.spec import UsageError


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
    monkeypatch.setattr(module_folder, "import_module", lambda name: module)
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


def test_a_name_that_is_nearly_one_is_told():
    with pytest.raises(UsageError, match=r"'resent18' \(choose from .*\) \(did you mean resnet18\?\); see"):
        bench(["step", "--model", "resent18"])
    with pytest.raises(UsageError, match=r"'slurm' \(choose from .*\) \(did you mean srun\?\); see"):
        parse_run(["--launcher", "slurm", "train.py"], {})
    with pytest.raises(UsageError, match=r"got 'all-reduce'; did you mean all_reduce\?"):
        bench(["all-reduce"])


@pytest.mark.parametrize("flag", ["-J", "--html"])
@pytest.mark.parametrize("ranks", [[], ["-np", "2"]])
def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(fake, monkeypatch, tmp_path, flag, ranks):
    monkeypatch.setattr("dtrain.launcher.command.run.run", lambda arguments, env: fake.append("launched") or 0)
    (tmp_path / "kept").write_text("kept")
    for name in ("none/f", "", "kept/f", "n" * 300):
        with pytest.raises(
            UsageError, match=r"dtrain bench step: --(json|html): expected a file that can be written, got"
        ):
            bench(["step", *ranks, flag, str(tmp_path / name)])
    assert fake == []
    for name in ("new", "kept"):
        assert bench(["step", *ranks, flag, str(tmp_path / name)]) == (0 if ranks else 3)
    assert len(fake) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (tmp_path / "kept").read_text() == "kept"


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
    assert launched == [["--no-tag", "--quiet", *launch, "-m", "dtrain.bench", "all_reduce", *own]]
    assert fake == []
    assert parse_run(launched[0], {}).arguments == ("all_reduce", *own)


def test_every_flag_of_run_is_taken():
    parser = TeachingParser()
    for spelling, flag in SPELLINGS.items():
        given = [spelling] if flag.is_switch else [spelling, "1"]
        launch, own = _sorted_flags(parser, [*given, "-b", "8"])
        assert launch == [f"--{flag.name}" if flag.is_switch else f"--{flag.name}=1"] and own == ["-b", "8"]


def test_help_and_names(capsys):
    assert bench([]) == 2
    for word in ("--help", "--list"):
        assert bench([word]) == 0
        printed = capsys.readouterr().out
        assert "  all_reduce   sweep message sizes as nccl-tests does" in printed
    with pytest.raises(
        UsageError, match=f"expected one of {', '.join(BENCHMARKS.names)}, got 'latency'; see dtrain bench --list"
    ):
        bench(["latency"])


@pytest.mark.parametrize("name", BENCHMARKS.names)
def test_every_file_is_a_benchmark(name):
    """It says what it measures, takes the flags of reports and no flag of the launcher's."""
    assert f"\n  {name} " in listing() and listing().split(f"\n  {name} ")[1].split("\n")[0].strip()
    module = import_module(f"dtrain.bench.benchmarks.{name}")
    assert module.__doc__.startswith(f"`dtrain bench {name}`: ")
    parser = TeachingParser()
    module.add_arguments(parser)
    own = set(parser._option_string_actions) - {"-h", "--help"}
    assert not own & {"--json", "-J", "--html"}, "the room adds those"
    assert not own & {"-np", "--num-proc", "-H", "--hosts", "--hostfile", "--mpi-args", "--launcher"}


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


def test_overhead_is_measured(tmp_path):
    flags = ["--turns", "2", "--nodes", "10", "--imports", "1", "-J", str(tmp_path / "o.json")]
    assert bench(["overhead", *flags]) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "o.json").read_text())["rows"]}
    assert list(rows) == ["NumPy", "eager", "recorded", "traced call", "traced node", "import"]
    assert 0 < rows["NumPy"]["median"] < rows["eager"]["median"] < rows["recorded"]["median"] < 1000
    assert 5 < rows["import"]["median"] < 20000
