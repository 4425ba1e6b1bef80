"""`--events`: the launcher's and the ranks' events of a job in one file, also of one that fails."""

from __future__ import annotations

from dtrain import events

SCRIPT = """
import os, signal, sys
from dtrain import events
rank = int(os.environ["RANK"])
for step in range(20):
    events.emit(events.Step(step=step, seconds=0.1 * rank, values={"loss": rank + step}))
if len(sys.argv) > 1 and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def of_kind(recorded, made):
    return [one for one in recorded if isinstance(one.event, made)]


def test_a_job_from_start_to_end(run):
    ended = run("-np", "3", "--launcher", "local", "--quiet", "--events", "job.jsonl", run.script(SCRIPT))
    assert ended.code == 0, ended.err
    recorded = list(events.read(run.folder / "job.jsonl"))
    assert len({one.job for one in recorded}) == 1 and recorded[0].job
    first, last = recorded[0], recorded[-1]
    assert (first.event.size, first.event.backend, first.event.reason, first.rank) == (3, "local", "asked for", None)
    assert last.event.exit_code == 0 and 0 < last.event.seconds < 60
    assert [one.rank for one in of_kind(recorded, events.RankStarted)] == [0, 1, 2]
    assert sorted(one.rank for one in of_kind(recorded, events.RankEnded)) == [0, 1, 2]
    assert {one.event.exit_code for one in of_kind(recorded, events.RankEnded)} == {0}
    for rank in range(3):
        steps = [one.event for one in of_kind(recorded, events.Step) if one.rank == rank]
        assert [(one.step, one.values["loss"]) for one in steps] == [(step, rank + step) for step in range(20)]
    assert not of_kind(recorded, events.Verdict)


def test_a_job_that_fails(run):
    """By the mirror of the flag in the environment; what a killed rank has said before is there."""
    run.env["DTRAIN_EVENTS"] = "job.jsonl"
    ended = run("-np", "2", "--launcher", "local", "--quiet", run.script(SCRIPT), "fail")
    assert ended.code == 137
    recorded = list(events.read(run.folder / "job.jsonl"))
    [verdict] = of_kind(recorded, events.Verdict)
    assert (verdict.event.kind, verdict.event.ranks, verdict.event.exit_code) == ("failure", (1,), 137)
    assert (verdict.event.first.rank, verdict.event.first.signal) == (1, 9)
    assert {one.rank: one.event.exit_code for one in of_kind(recorded, events.RankEnded)}[1] == 137
    assert len([one for one in of_kind(recorded, events.Step) if one.rank == 1]) == 20
    assert recorded[-1].event.exit_code == 137


def test_two_jobs_in_one_file_and_a_file_that_cannot_be(run):
    script = run.script("")
    for _ in range(2):
        assert run("--quiet", "--events", "job.jsonl", script).code == 0
    assert len({one.job for one in events.read(run.folder / "job.jsonl")}) == 2
    ended = run("--quiet", "--events", "no/such/job.jsonl", script)
    assert ended.code == 125
    assert "could not start: --events: expected a file that can be written, got" in ended.err
