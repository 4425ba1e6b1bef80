"""What the launcher knows of its ranks, message by message."""

from __future__ import annotations

import platform
import socket
from dataclasses import replace

import pytest

from dtrain.base.version import VERSION
from dtrain.control.messages import Exited, Progress, Ready, Schedule, Stacks, Summary
from dtrain.control.peer import Peer
from dtrain.control.verdict import Failure
from dtrain.launcher.job.roster import Roster

READY = Ready(
    child_pid=77,
    cores=(0, 1),
    num_cores=2,
    devices=(),
    free_port=9,
    dtrain=VERSION,
    python=platform.python_version(),
)
EXIT = Exited(code=0, signal=0, asked=False, max_rss=1, oom_kills=0, faults="", time=5.0)


@pytest.fixture
def peer_of():
    sockets = []

    def make(rank, role="supervisor"):
        sockets.append(socket.socket())
        return Peer(sockets[-1], 0.0, role=role, rank=rank, host=f"host{rank}", address="10.0.0.1", pid=7)

    yield make
    for one in sockets:
        one.close()


def test_ready(peer_of):
    roster = Roster(2, twice_advice="does mpirun belong here?")
    assert roster.missing == [0, 1]
    assert roster.note_ready(peer_of(1), READY) == ""
    assert roster.missing == [0]
    assert (roster.ends[1].host, roster.ends[1].pid) == ("host1", 77)
    twice = "expected each rank once, got rank 1 twice (host1 and host1); does mpirun belong here?"
    assert twice in roster.note_ready(peer_of(1), READY)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtrain": "9.9.9"}, f"expected version {VERSION} on every host, as here, got 9.9.9 on host1"),
        ({"python": "2.7.18"}, f"expected {platform.python_version()} on every host, as here, got 2.7.18 on host1"),
    ],
)
def test_another_version_is_refused(peer_of, given, words):
    roster = Roster(2)
    assert words in roster.note_ready(peer_of(1), replace(READY, **given))
    assert roster.missing == [0, 1]
    assert roster.note_ready(peer_of(0), replace(READY, python=platform.python_version() + "+")) == ""


def test_ends(peer_of):
    roster = Roster(4)
    for rank in range(4):
        roster.note_ready(peer_of(rank), READY)
    roster.note(peer_of(2), replace(EXIT, code=3))
    roster.note(peer_of(0), EXIT)
    roster.note(peer_of(1), replace(EXIT, signal=15, asked=True))
    assert not roster.all_ended
    roster.note_lost(roster.supervisors[3])
    assert roster.all_ended
    assert [end.rank for end in roster.failures] == [2, 3]
    assert (roster.ends[3].lost, roster.ends[3].exit_code) == (True, 137)
    assert [end.rank for end in roster.unexplained] == [1, 2, 3]


def test_a_supervisor_that_left_after_its_report_is_no_failure(peer_of):
    roster = Roster(1)
    peer = peer_of(0)
    roster.note_ready(peer, READY)
    roster.note(peer, EXIT)
    roster.note_lost(peer)
    roster.note_lost(peer)
    assert roster.failures == []
    assert roster.supervisors == {}


def test_a_lost_rank_connection_says_nothing(peer_of):
    roster = Roster(1)
    roster.note_ready(peer_of(0), READY)
    roster.note_lost(peer_of(0, role="rank"))
    assert not roster.ends[0].has_ended


def test_what_ranks_report(peer_of):
    roster = Roster(1)
    peer = peer_of(0, role="rank")
    roster.note(peer, Progress(4, "x", 1.0))
    roster.note(peer, Failure(kind="E", text="m", traceback="t"))
    roster.note(peer, Stacks('Current thread 0x1:\n  File "t.py", line 3 in f\n'))
    roster.note(peer, Schedule(group="world", position=0, digest="a", text=""))
    end = roster.ends[0]
    assert (end.collective_index, end.call_text, end.kind, end.text, end.traceback) == (4, "x", "E", "m", "t")
    assert end.stacks == '  File "t.py", line 3 in f'


def test_who_left_past_the_end_of_python(peer_of):
    """Code 0 without the summary that a script's end sends; whether its other messages came in time is luck."""
    roster = Roster(4)
    for rank in range(4):
        roster.note_ready(peer_of(rank), READY)
    roster.note(peer_of(1), Summary(True))
    roster.note(peer_of(3), Summary(None))
    for rank in (1, 2, 3):
        roster.note(peer_of(rank), EXIT)
    assert roster.left_without_a_word == []  # nobody was stopped for it
    roster.note(peer_of(0), replace(EXIT, signal=15, asked=True))
    assert [end.rank for end in roster.left_without_a_word] == [2]
