"""The all-reduce benchmark, alone and under mpirun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrain.bench.command import bench
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.world import context
from dtrain.launcher.plan.spec import UsageError

sys.path[:0] = [str(Path(__file__).parent.parent / "helpers")]

from run_ranks import mpirun_command, run_command  # noqa: E402

QUICK = ["-n", "2", "-w", "0"]


@pytest.fixture(autouse=True)
def world():
    with context.using(SelfCommunicator()) as communicator:
        yield communicator


def test_rows_have_the_columns_of_nccl_tests(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert (
        bench(["all_reduce", *["-b", "0", "-e", "1K", "-f", "4", "-d", "bf16", "-o", "max", "-J"], str(file), *QUICK])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "# all_reduce max bf16: 1 ranks on 1 host(s), communicator self, 0 warm-up and 2 timed iterations"
    )
    assert lines[1].split() == [
        *(["size", "count", "type", "redop", "via", "min", "us", "median", "us", "max", "us"]),
        *(["algbw", "busbw", "#wrong", "%copy"]),
    ]
    rows = [line.split() for line in lines if not line.startswith("#")][1:]
    assert [row[:5] for row in rows[:2]] == [
        ["0", "0", "bf16", "max", "dtrain"],
        ["0", "0", "bf16", "max", "dtrain-window"],
    ]
    assert {row[-2] for row in rows} == {"0"}
    assert lines[-1] == "# all results exact"
    content = json.loads(file.read_text())
    assert content["benchmark"] == "all_reduce" and content["ranks"] == 1 and content["num_wrong"] == 0
    last = content["rows"][-1]
    assert last["nbytes"] == 2 * last["count"] and last["algorithm"] == "copy" and last["busbw"] == 0
    assert last["min_us"] <= last["median_us"] <= last["max_us"]
    assert last["algbw"] == pytest.approx(last["nbytes"] / last["median_us"] / 1e3)
    assert content["fits"] == {}  # one rank has no link
    assert any("so no link is fitted" in line for line in lines)


def test_wrong_results_are_counted_and_end_in_1(
    world: SelfCommunicator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = SelfCommunicator._carry

    def wrong(self, kind, text, sources, outs, *reduction) -> None:
        right(self, kind, text, sources, outs, *reduction)
        if sources[0].dtype == np.float32 and sources[0].size > 3:
            outs[0][3] += 1

    monkeypatch.setattr(SelfCommunicator, "_carry", wrong)
    assert bench(["all_reduce", "-b", "8", "-e", "16", *QUICK]) == 1
    assert "# 2 wrong elements" in capsys.readouterr().out
    assert bench(["all_reduce", "-b", "8", "-e", "16", "-c", "0", *QUICK]) == 0
    output = capsys.readouterr().out
    assert "# results not checked" in output and "N/A" in output


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-d", "float99"], "expected one of bool, u8"),
        (["-o", "median"], "one of sum, mean, min, max, prod, got 'median'"),
        (["-d", "int32", "-o", "mean"], "a floating dtype for op='mean', got s32"),
        (["-n", "0"], "-n of 1 or more"),
        (["-f", "1"], "-f above 1"),
        (["-b", "1M", "-e", "1K"], "-b at most -e"),
        (["-b", "big"], "expected bytes such as 8, 64K, 32M or 1G, got 'big'"),
        (["--peers", "mpi,nccl"], "--peers: expected names among mpi, gloo, got nccl"),
    ],
)
def test_wrong_flags(flags: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        bench(["all_reduce", *flags])
    assert text in str(caught.value)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench(["all_reduce", "--help"])
    output = capsys.readouterr().out
    for text in (
        "busbw   algbw * 2(p-1)/p",
        "--peers mpi,gloo -J out.json",
        "exit code: 0, or 1 if any result was wrong",
    ):
        assert text in output


@pytest.mark.distributed
def test_under_mpirun_with_a_peer(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    module = [sys.executable, "-m", "dtrain.bench", "all_reduce"]
    flags = ["-b", "8", "-e", "256K", "-f", "32", "--peers", "mpi", "-J", str(file)]
    job = run_command(mpirun_command(3, *module, *flags, *QUICK), timeout=120)
    assert job.returncode == 0, job.stdout
    assert job.stdout.count("# all results exact") == 1, "only rank 0 prints"
    content = json.loads(file.read_text())
    assert content["ranks"] == 3 and content["communicator"] == "mpi_shared" and not content["notes"]
    assert {row["via"] for row in content["rows"]} == {"dtrain", "dtrain-window", "mpi"}
    assert {row["algorithm"] for row in content["rows"]} == {"shared_one_shot", "shared_slices", "mpi"}
    for row in content["rows"]:
        assert row["busbw"] == pytest.approx(row["algbw"] * 4 / 3) and row["wrong"] == 0
