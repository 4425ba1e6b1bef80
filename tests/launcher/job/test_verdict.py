"""The words of a verdict, compared as text."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest

from dtrain.control.verdict import Failure
from dtrain.launcher.backends.mpirun import MpirunBackend
from dtrain.launcher.job.backend_verdicts import (
    backend_left_verdict,
    daemon_lost_verdict,
    lost_with_their_host,
    start_verdict,
)
from dtrain.launcher.job.rank_end import RankEnd, cause
from dtrain.launcher.job.verdict import (
    culprit_and_others,
    failure_verdict,
    interrupt_verdict,
    timeout_verdict,
)


def test_an_exception():
    end = RankEnd(
        rank=1,
        host="a",
        pid=42,
        code=1,
        said=Failure(
            kind="ValueError",
            text="bad data\nin two lines",
            traceback='Traceback:\n  File "t.py", line 3\nValueError: bad data\n',
        ),
        collective_index=7,
        call_text="Allreduce",
        max_rss=300 << 20,
        log="logs/rank.01/stderr",
    )
    verdict = failure_verdict(end, 3, [RankEnd(rank=0, host="b", code=5), RankEnd(rank=2, asked=True, signal=15)])
    assert (verdict.kind, verdict.exit_code, verdict.ranks) == ("failure", 1, (1,))
    assert verdict.text.splitlines()[1:-1] == [
        "dtrain: rank 1 of 3 failed: ValueError: bad data (exit code 1)",
        "  host a, pid 42, at an unknown time, collective 7 Allreduce",
        "  peak memory 300 MiB",
        "  its traceback:",
        "    Traceback:",
        '      File "t.py", line 3',
        "    ValueError: bad data",
        "  also: rank 0 on b: exit code 5",
        "  log: logs/rank.01/stderr",
        "  all other ranks were stopped",
    ]


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"code": 3}, 3, "exit code 3"),
        ({"code": 1, "said": Failure(kind="KeyError", text="")}, 1, "KeyError (exit code 1)"),
        ({"signal": signal.SIGKILL}, 137, "killed by SIGKILL (signal 9), sent by somebody"),
        ({"signal": signal.SIGKILL, "oom_kills": 1}, 137, "most likely by the kernel for want of memory"),
        ({"signal": signal.SIGKILL, "lost": True}, 137, "or its host was lost"),
        ({"signal": signal.SIGSEGV}, 139, "killed by SIGSEGV (signal 11), a crash in native code"),
        ({"signal": signal.SIGABRT}, 134, "killed by SIGABRT (signal 6), a native library gave up"),
        ({"signal": signal.SIGTERM}, 143, "killed by SIGTERM (signal 15)"),
        ({"signal": 63}, 191, "killed by"),
    ],
)
def test_causes_and_codes(fields, code, text):
    end = RankEnd(rank=0, **fields)
    assert cause(end).startswith("killed by") == bool(end.signal)
    assert text in cause(end)
    assert failure_verdict(end, 1).exit_code == code


def test_what_would_move_a_terminals_cursor_is_spelled_out():
    text = "\x1b[2J\x1b[31mred\r over\x07\x00 \x9b2J a\tb ü"
    end = RankEnd(rank=1, host="a", code=1, said=Failure(kind="E", text=text, traceback=f"Traceback:\nE: {text}\n"))
    shown = failure_verdict(end, 2).text
    assert r"E: \x1b[2J\x1b[31mred\x0d over\x07\x00 \x9b2J a" in shown and "a\tb ü" in shown
    assert all(character.isprintable() or character in "\n\t" for character in shown)


def test_who_has_failed():
    assert not RankEnd(rank=0).has_ended
    assert not RankEnd(rank=0, code=0).has_failed
    assert RankEnd(rank=0, code=2).has_failed
    assert not RankEnd(rank=0, signal=15, asked=True).has_failed


def test_timeout_names_the_rank_furthest_behind():
    ends = [
        RankEnd(rank=0, host="a", collective_index=12, call_text="all_reduce", time=90.0, stacks="main:\n  all_reduce"),
        RankEnd(rank=1, host="b", collective_index=9, call_text="load", time=80.0),
        RankEnd(rank=2, host="b", code=0),
    ]
    verdict = timeout_verdict(30, ends, now=100.0)
    assert (verdict.kind, verdict.exit_code, verdict.ranks) == ("timeout", 124, (0, 1))
    assert verdict.text.splitlines()[1:-1] == [
        "dtrain: timeout: the job ran longer than 30 s",
        "  rank 0 on a: running, collective 12 all_reduce, last seen 10.0 s ago",
        "  rank 1 on b: running, collective 9 load, last seen 20.0 s ago",
        "  rank 2 on b: ended with exit code 0",
        "  furthest behind: rank 1, collective 9 load",
        "  rank 0 stands at (newest call first):",
        "    main:",
        "      all_reduce",
        "  rank 1 stands at (newest call first):",
        "    no answer: neither of it nor of its supervisor",
    ]


def test_other_kinds():
    assert start_verdict(["  why"]).exit_code == 125
    assert "dtrain: could not start\n  why\n" in start_verdict(["  why"]).text
    assert interrupt_verdict(signal.SIGINT).exit_code == 130
    assert interrupt_verdict(signal.SIGTERM).exit_code == 143
    assert "stopped by SIGTERM" in interrupt_verdict(signal.SIGTERM).text


def test_failure_file(tmp_path):
    end = RankEnd(rank=1, host="a", pid=42, signal=9)
    path = failure_verdict(end, 2).write(str(tmp_path / "new" / "logs"))
    record = json.loads(path.read_text())
    assert (record["kind"], record["exit_code"], record["ranks"]) == ("failure", 137, [1])
    assert (record["first"]["host"], record["first"]["signal"]) == ("a", 9)
    assert json.loads(interrupt_verdict(2).as_json())["first"] is None


def _mismatch(rank: int, line: int, text: str = "got rank 0: barrier; ranks 1-99: split") -> RankEnd:
    traceback = f'Traceback:\n  File "t.py", line {line}, in step\n    step()\n'
    message = f"[rank {rank}/100] {text}\nmake every rank"
    said = Failure(kind="CollectiveMismatchError", text=message, traceback=traceback)
    return RankEnd(rank=rank, host="a", code=120, said=said)


def test_ranks_that_fail_alike_are_one_line_however_many_there_are():
    ends = [_mismatch(rank, 12) for rank in range(100)]
    lines = failure_verdict(ends[0], 100, ends).text.splitlines()
    (also,) = [line for line in lines if line.startswith("  also: ")]
    assert also == "  also: ranks 1, 2, 3, 4, 5, 6, 7, 8 and 91 more on a: the same error at t.py:12"
    assert len(lines) < 15


def test_ranks_that_disagree_are_shown_side_by_side():
    first = _mismatch(2, 42)
    first.said = replace(first.said, sides=("rank 1: all_reduce sum f32[]", "ranks 0,2: all_reduce sum f32[3]"))
    text = failure_verdict(first, 3).text
    assert "  rank 1: all_reduce sum f32[]\n  ranks 0,2: all_reduce sum f32[3]\n" in text


def test_another_error_is_another_line_with_its_place():
    others = [
        _mismatch(1, 30),
        _mismatch(2, 31),
        RankEnd(rank=3, host="b", code=1, said=Failure(kind="KeyError", text="k")),
    ]
    lines = failure_verdict(_mismatch(0, 12), 4, others).text.splitlines()
    assert [line for line in lines if line.startswith("  also: ")] == [
        "  also: ranks 1, 2 on a: the same error at t.py:30, t.py:31",
        "  also: rank 3 on b: KeyError: k (exit code 1)",
    ]


def test_who_lost_a_peer_is_not_the_culprit():
    lost = [RankEnd(rank=rank, code=1, said=Failure(kind="PeerLostError", text=f"on rank {rank}")) for rank in (0, 2)]
    memory = RankEnd(rank=1, code=1, said=Failure(kind="MemoryError", text="no room"))
    first, others = culprit_and_others([lost[0], memory, lost[1]])
    assert first is memory and others == lost
    assert "  also: ranks 0, 2 on unknown: PeerLostError (exit code 1)" in failure_verdict(first, 3, others).text
    assert culprit_and_others(lost)[0] is lost[0], "somebody has to be named"


LOST = """PRTE has lost communication with a remote daemon.
  HNP daemon   : [prterun-a-7@0,0] on node a
  Remote daemon: [prterun-a-7@0,2] on node {node}
"""


@pytest.mark.parametrize("node", ["b", "10.0.0.2"])
def test_a_lost_daemon_names_its_host_and_ranks(node):
    ends = [RankEnd(rank=rank, host=host, pid=40 + rank) for rank, host in enumerate(("a", "b.site", "b.site"))]
    ends[0].code, ends[0].asked = 0, True  # mpirun tells the others to end
    addresses = {0: "10.0.0.1", 1: "10.0.0.2", 2: "10.0.0.2"}
    said = LOST.replace("{node}", node)
    lost = lost_with_their_host(MpirunBackend.lost_hosts(said), ends, addresses)
    verdict = daemon_lost_verdict("mpirun", 0, said, ends, on_lost_hosts=lost)
    assert verdict.text.splitlines()[1] == (
        "dtrain: ranks 1, 2 of 3 lost: mpirun's daemon on b.site is gone, or the way to it"
    )
    assert "  rank 2 on b.site, pid 42\n" in verdict.text
    assert (verdict.exit_code, verdict.ranks, verdict.first) == (1, (1, 2), ends[1].failure())


def test_a_backend_that_leaves_without_a_reason_names_who_still_ran():
    ends = [
        RankEnd(rank=rank, host="ab"[rank], pid=40 + rank, collective_index=7, call_text="all_reduce")
        for rank in range(2)
    ]
    verdict = daemon_lost_verdict("mpirun", -15, "", ends, scheduler="Slurm")
    assert "dtrain: mpirun ended the job while ranks 0, 1 of 2 ran on a, b\n" in verdict.text
    assert "  rank 1 on b, pid 41, collective 7 all_reduce\n" in verdict.text
    assert "  Slurm may have ended the job: cancelled, over its time limit, or a node failed\n" in verdict.text
    assert (verdict.exit_code, verdict.ranks) == (143, (0, 1))


def test_who_did_not_come_up_is_named_with_the_hosts():
    text = backend_left_verdict("mpirun", 127, "prted: not found\n", missing=[1, 2], hosts=["b", "b"]).text
    assert "  mpirun left with code 127 before ranks 1, 2 on b came up; it said:\n    prted: not found\n" in text
    assert "the same environment at the same path" in text
    assert "path" not in backend_left_verdict("mpirun", 1, "x", missing=[0]).text


def test_a_lost_rank_of_a_batch_job_may_have_been_ended_by_its_system():
    line = "  Slurm may have ended the job: cancelled, over its time limit, or a node failed\n"
    lost = RankEnd(rank=1, host="b", signal=9, lost=True)
    assert line in failure_verdict(lost, 2, scheduler="Slurm").text
    assert line not in failure_verdict(lost, 2).text
    assert line not in failure_verdict(RankEnd(rank=1, host="b", signal=9), 2, scheduler="Slurm").text
