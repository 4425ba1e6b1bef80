"""Events in a file: every kind comes back, several processes do not mix, a crash loses nothing, nothing raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import events
from dtrain.base.errors import LaunchError
from dtrain.control.verdict import Failure, Verdict
from dtrain.events.json_lines import as_line, from_line
from dtrain.launcher.job.journal import Journal

EVENTS: list[events.Event] = [
    events.JobStarted(size=2, backend="local", reason="γ", script="t.py", arguments=("--a", "caf\udcff")),
    events.RankStarted(host="h", pid=1, node_rank=0, local_rank=1, num_threads=2, device="cpu"),
    events.RankEnded(host="h", exit_code=137, asked=False, max_rss=1 << 40, collective_index=-1),
    events.JobEnded(exit_code=1, seconds=1.5),
    events.Step(step=7, seconds=0.25, values={"loss": 0.5, "name": "a", "good": True, "none": None, "count": 3}),
    events.Epoch(epoch=1, step=10, seconds=3.0),
    events.BenchmarkResult(benchmark="all_reduce", values={"nbytes": 8, "GB/s": 1.5}),
    Verdict(kind="failure", exit_code=3, text="t", ranks=(1,), first=Failure(kind="E", text="x", sides=("a",))),
]


def test_every_kind_comes_back_as_it_went() -> None:
    assert {type(event) for event in EVENTS} == set(events.KINDS.values())
    for event in EVENTS:
        for rank in (None, 3):
            recorded = events.Recorded(event, 1.25, "job", rank)
            assert from_line(as_line(recorded)) == recorded


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "expected a line of JSON"),
        ("[]", "expected the fields event, time, job, rank"),
        ('{"event":"step","time":1,"job":"","rank":0,"step":"7","seconds":1}', "event step, step: expected a whole"),
        ('{"event":"leap","time":1,"job":"","rank":0}', "expected one of the kinds job_started, .* got 'leap'"),
        ('{"event":"epoch","time":1,"job":"","rank":0,"epoch":1,"step":1,"seconds":1,"values":{"a":[]}}', "values, a"),
    ],
)
def test_a_line_that_is_none_is_a_clear_error(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_line(line)


def test_numbers_of_arrays_and_tensors_and_those_that_json_has_not(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "numpy": np.float32(0.5), "count": np.int64(3), "tensor": dt.tensor(2.0), "nan": float("nan"),
        "inf": -np.inf, "other": Path("a"),
    }  # fmt: skip
    sink = events.JsonLines(str(tmp_path / "e"), rank=0)
    sink.take(events.Recorded(events.Step(step=1, seconds=0.0, values=values), 0.0, "", 0))
    sink.close()
    [recorded] = events.read(tmp_path / "e")
    assert isinstance(recorded.event, events.Step)
    assert recorded.event.values == {
        "numpy": 0.5, "count": 3, "tensor": 2.0, "nan": "nan", "inf": "-inf", "other": "a"
    }  # fmt: skip


def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"--events: expected a file that can be written, got '.*': No such file"):
        events.JsonLines(str(tmp_path / "none" / "e"), rank=0)


def test_names_of_ranks_and_hosts_are_filled_in(tmp_path: Path) -> None:
    assert events.JsonLines(str(tmp_path / "{rank}.e"), rank=3).path == str(tmp_path / "3.e")
    assert events.JsonLines(str(tmp_path / "{rank}.e"), rank=None).path == str(tmp_path / "launcher.e")
    assert os.uname().nodename in events.JsonLines(str(tmp_path / "{host}"), rank=0).path


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said_once_and_training_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    sink = events.JsonLines("/dev/full", rank=0)
    for _ in range(3):
        sink.take(events.Recorded(EVENTS[0], 0.0, "", 0))
    told = capfd.readouterr().err
    assert told.count("cannot write events to /dev/full any more") == 1 and "the job goes on without them" in told


def test_a_value_that_raises_is_said_and_training_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Bad:
        def __str__(self) -> str:
            raise ZeroDivisionError("of the user's")

    sink = events.JsonLines(str(tmp_path / "e"), rank=0)
    values: Any = {"bad": Bad()}
    sink.take(events.Recorded(events.Step(step=1, seconds=0.0, values=values), 0.0, "", 0))
    assert "of the user's; the job goes on without them" in capfd.readouterr().err


@pytest.mark.parametrize("bad", [np.ones(2), [1.0], {"a": 1}])
def test_what_is_no_value_is_left_out_and_the_file_goes_on(
    bad: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = events.JsonLines(str(tmp_path / "e"), rank=0)
    for step in range(3):
        values: Any = {"loss": 0.5, "bad": bad if step < 2 else 1.0}
        sink.take(events.Recorded(events.Step(step=step, seconds=0.0, values=values), 0.0, "", 0))
    found = [recorded.event for recorded in events.read(tmp_path / "e")]
    assert found == [
        events.Step(step=step, seconds=0.0, values={"loss": 0.5} | ({"bad": 1.0} if step == 2 else {}))
        for step in range(3)
    ]
    told = capfd.readouterr().err
    assert told.count("values, bad: expected a number, a text, True, False or None, got ") == 1


def test_an_event_that_no_line_can_hold_is_left_out_and_the_file_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sink = events.JsonLines(str(tmp_path / "e"), rank=0)
    whole: Any = np.ones(2)
    sink.take(events.Recorded(events.Step(step=whole, seconds=0.0), 0.0, "", 0))
    sink.take(events.Recorded(EVENTS[0], 0.0, "", 0))
    assert [recorded.event for recorded in events.read(tmp_path / "e")] == EVENTS[:1]
    assert "Step: expected fields that JSON has, got " in capfd.readouterr().err


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.mark.timeout(20)
def test_a_pipe_that_nobody_reads_is_refused_at_once(pipe: str) -> None:
    with pytest.raises(LaunchError, match=r"--events: expected a file .*, got '.*pipe': a pipe that nobody reads; "):
        Journal(pipe, "job")


@pytest.mark.timeout(20)
def test_a_pipe_is_written_as_long_as_its_reader_keeps_up(pipe: str, capfd: pytest.CaptureFixture[str]) -> None:
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sink = events.JsonLines(pipe, rank=0)
    sink.take(events.Recorded(EVENTS[0], 0.0, "", 0))
    assert from_line(os.read(reader, 1 << 16)).event == EVENTS[0]
    for _ in range(2000):  # more than a pipe holds
        sink.take(events.Recorded(EVENTS[0], 0.0, "", 0))
    assert capfd.readouterr().err.count("any more: its reader does not keep up; the job goes on without them") == 1
    os.close(reader)


def test_devices_and_streams_that_never_wait_are_taken() -> None:
    read, write = os.pipe()
    for path in ("/dev/null", f"/dev/fd/{write}"):  # the latter is what /dev/stderr is under a launcher
        sink = events.JsonLines(path, rank=0)
        sink.take(events.Recorded(EVENTS[0], 0.0, "", 0))
        sink.close()
    os.close(write)
    assert from_line(os.read(read, 1 << 16)).event == EVENTS[0]
    os.close(read)


WRITER = """
import os, signal, sys
from dtrain import events
for step in range(int(sys.argv[1])):
    events.emit(events.Step(step=step, seconds=0.0, values={"text": "x" * (step % 997 * 7), "pid": os.getpid()}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lines_of_several_processes_do_not_mix_and_none_is_lost_with_a_killed_one(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, "700"],
            env={
                **os.environ,
                "DTRAIN_EVENTS": str(tmp_path / "e"),
                "DTRAIN_RANK": str(rank),
                "DTRAIN_WORLD_SIZE": "3",
            },
        )
        for rank in range(3)
    ]
    assert [process.wait(timeout=60) for process in processes] == [-signal.SIGKILL] * 3
    steps: dict[int | None, list[int]] = {0: [], 1: [], 2: []}
    for recorded in events.read(tmp_path / "e"):
        assert isinstance(recorded.event, events.Step)
        steps[recorded.rank].append(recorded.event.step)
    assert all(numbers == list(range(700)) for numbers in steps.values())
