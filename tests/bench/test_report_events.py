"""What a benchmark leaves is also an event a row."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from dtrain import events
from dtrain.bench.command import bench
from dtrain.bench.report import record, write


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of events of this process."""
    monkeypatch.setenv("DTRAIN_EVENTS", str(tmp_path / "events"))
    monkeypatch.setattr("dtrain.events.stream._sinks", None)
    return tmp_path / "events"


def test_every_row_is_an_event(heard: Path) -> None:
    args = argparse.Namespace(json=None, html=None, turns=3)
    rows = [{"label": "a", "busbw": 1.5}, {"label": "b", "busbw": float("nan")}]
    write(record("made up", args, rows), args, label="label", figure="busbw")
    assert [recorded.event for recorded in events.read(heard)] == [
        events.BenchmarkResult(benchmark="made up", values={"label": "a", "busbw": 1.5}),
        events.BenchmarkResult(benchmark="made up", values={"label": "b", "busbw": "nan"}),
    ]


def test_a_benchmark_that_is_run(heard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(["memory_plan", "--model", "mlp", "--repeats", "1"]) == 0
    [recorded] = events.read(heard)
    assert isinstance(recorded.event, events.BenchmarkResult)
    assert (recorded.event.benchmark, recorded.event.values["model"]) == ("memory_plan", "mlp")
    assert "mlp" in capsys.readouterr().out
