"""The words of a verdict, compared as text."""

from __future__ import annotations

import json
import signal

import pytest

from dtrain.launcher.verdict import (
    RankEnd,
    cause,
    failure_verdict,
    interrupt_verdict,
    start_verdict,
    timeout_verdict,
)


def test_an_exception():
    end = RankEnd(
        rank=1,
        host="a",
        pid=42,
        code=1,
        exception="ValueError",
        message="bad data\nin two lines",
        traceback='Traceback:\n  File "t.py", line 3\nValueError: bad data\n',
        step=7,
        op="Allreduce",
        max_rss=300 << 20,
        log="logs/rank.01/stderr",
    )
    verdict = failure_verdict(end, 3, [RankEnd(rank=0, host="b", code=5), RankEnd(rank=2, asked=True, signal=15)])
    assert (verdict.kind, verdict.exit_code, verdict.ranks) == ("failure", 1, (1,))
    assert verdict.text.splitlines()[1:-1] == [
        "dtrain: rank 1 of 3 failed: ValueError: bad data (exit code 1)",
        "  host a, pid 42, at an unknown time, step 7 Allreduce",
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
        ({"code": 1, "exception": "KeyError"}, 1, "KeyError (exit code 1)"),
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


def test_who_has_failed():
    assert not RankEnd(rank=0).has_ended
    assert not RankEnd(rank=0, code=0).has_failed
    assert RankEnd(rank=0, code=2).has_failed
    assert not RankEnd(rank=0, signal=15, asked=True).has_failed


def test_timeout_names_the_rank_furthest_behind():
    ends = [
        RankEnd(rank=0, host="a", step=12, op="all_reduce", time=90.0, stacks="main:\n  all_reduce"),
        RankEnd(rank=1, host="b", step=9, op="load", time=80.0),
        RankEnd(rank=2, host="b", code=0),
    ]
    verdict = timeout_verdict(30, ends, now=100.0)
    assert (verdict.kind, verdict.exit_code, verdict.ranks) == ("timeout", 124, (0, 1))
    assert verdict.text.splitlines()[1:-1] == [
        "dtrain: timeout: the job ran longer than 30 s",
        "  rank 0 on a: running, step 12 all_reduce, last seen 10.0 s ago",
        "  rank 1 on b: running, step 9 load, last seen 20.0 s ago",
        "  rank 2 on b: ended with exit code 0",
        "  furthest behind: rank 1, step 9 load",
        "  rank 0 stands at (newest call first):",
        "    main:",
        "      all_reduce",
        "  rank 1 stands at (newest call first):",
        "    no answer: it is stopped, or was still starting",
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
