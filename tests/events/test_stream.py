"""`emit`: what it costs without a sink, who hears, and that a sink that raises is shown out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dtrain import events
from dtrain.events import stream

STEP = events.Step(step=1, seconds=0.5)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DTRAIN_EVENTS", raising=False)
    monkeypatch.setattr(stream, "_sinks", None)


class Heard:
    def __init__(self) -> None:
        self.events: list[events.Recorded] = []

    def take(self, recorded: events.Recorded) -> None:
        self.events.append(recorded)


class Broken:
    def take(self, recorded: events.Recorded) -> None:
        raise RuntimeError("full")


def test_sinks_hear_what_is_emitted_until_they_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_JOB_ID", "7")
    heard = Heard()
    events.add_sink(heard)
    before = time.time()
    events.emit(STEP)
    events.remove_sink(heard)
    events.remove_sink(heard)
    events.emit(STEP)
    [recorded] = heard.events
    assert (recorded.event, recorded.job, recorded.rank) == (STEP, "7", 0)
    assert before <= recorded.time <= time.time()


def test_a_sink_that_raises_is_shown_out_with_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    events.add_sink(Broken())
    events.add_sink(heard)
    events.emit(STEP)
    events.emit(STEP)
    assert len(heard.events) == 2
    assert capfd.readouterr().err.count("Broken takes no more events: RuntimeError: full") == 1


def test_the_file_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DTRAIN_EVENTS", str(tmp_path / "e"))
    events.emit(STEP)
    assert [recorded.event for recorded in events.read(tmp_path / "e")] == [STEP]


def test_a_file_that_cannot_be_written_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DTRAIN_EVENTS", str(tmp_path / "none" / "e"))
    events.emit(STEP)
    events.emit(STEP)
    assert capfd.readouterr().err.count("dtrain: no events are written: --events: expected a file") == 1


def test_without_a_sink_it_costs_next_to_nothing() -> None:
    begin = time.perf_counter()
    for _ in range(10_000):
        events.emit(STEP)
    assert time.perf_counter() - begin < 0.1
