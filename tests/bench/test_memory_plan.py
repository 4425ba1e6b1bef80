"""The benchmark of planning: its figures are those of the plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtrain.bench.benchmarks.memory_plan import bound_step, measure
from dtrain.bench.command import bench
from dtrain.launcher.plan.spec import UsageError


def test_it_prints_and_writes_a_row_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "rows.json"
    assert bench(["memory_plan", "--model", "digits_cnn", "--model", "mlp", "--repeats", "2", "-J", str(written)]) == 0
    header, *lines, legend = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["model", "nodes", "storages", "plan"]
    assert legend.startswith("/ alive: the arena over the bytes")
    assert [line.split()[0] for line in lines] == ["digits_cnn", "mlp"]
    rows = json.loads(written.read_text())["rows"]
    assert [row["model"] for row in rows] == ["digits_cnn", "mlp"]
    for row in rows:
        assert 0 < row["least_ms"] <= row["plan_ms"]
        assert 0 < row["alive_mib"] <= row["arena_mib"] < row["unshared_mib"]


def test_a_row_says_what_the_plan_says() -> None:
    executor = bound_step("digits_cnn", 2)
    plan, row = executor.plan, measure("digits_cnn", executor, 1)
    assert (row.nodes, row.storages) == (len(executor.graph.nodes), len(plan.arena_storages))
    assert row.workspace_mib == plan.workspace_nbytes / 2**20
    assert row.arena_mib == plan.arena_nbytes / 2**20


@pytest.mark.parametrize("flag", ["--repeats", "--batch-size"])
def test_counts_below_one_are_refused(flag: str) -> None:
    with pytest.raises(UsageError, match=f"expected {flag} of at least 1, got 0"):
        bench(["memory_plan", flag, "0"])
