"""Ranks that come up, also while others go again or the job is ending."""

from __future__ import annotations

import math
import platform
from types import SimpleNamespace

import pytest

from dtrain.base.version import VERSION
from dtrain.control.messages import Ready, Start, Stop
from dtrain.launcher.job.journal import Journal
from dtrain.launcher.job.muster import Muster
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
SPEC = SimpleNamespace(quiet=True, grace=None)
PLAN = SimpleNamespace(size=2, variables=SimpleNamespace(all={}))


class Server:
    def __init__(self, peers):
        self.peers = peers
        self.sent = []
        self.environments = []

    def send(self, peer, message):
        self.sent.append((peer.rank, type(message)))
        self.environments.append(getattr(message, "environment", None))

    def broadcast(self, message, *, role):
        for rank in sorted(self.peers):
            self.sent.append((rank, type(message)))


@pytest.fixture
def job():
    roster = Roster(2)
    server = Server(roster.supervisors)
    muster = Muster(PLAN, SPEC, roster, SimpleNamespace(), Journal(None, ""), passes_input=True)
    peers = [SimpleNamespace(rank=rank, role="supervisor", host="h", address="127.0.0.1") for rank in range(2)]
    come = [lambda peer=peer: muster.note_ready(server, peer, READY) for peer in peers]
    return SimpleNamespace(roster=roster, server=server, muster=muster, peers=peers, come=come)


def test_the_last_one_lets_all_scripts_run(job):
    assert job.come[0]() == ""
    assert job.server.sent == []
    assert job.come[1]() == ""
    assert job.server.sent == [(0, Start), (1, Start)]
    assert job.muster.running_since < math.inf


def test_who_comes_while_the_job_ends_is_told_to_end(job):
    """The first one has heard it and gone."""
    job.come[0]()
    job.muster.stop(job.server, 15, 1.0)
    job.roster.note_lost(job.peers[0])
    assert job.come[1]() == ""
    assert job.server.sent == [(0, Stop), (1, Stop)]
    assert job.muster.running_since == math.inf


def test_no_script_runs_where_a_rank_is_gone_before_the_last_one_comes(job):
    job.come[0]()
    job.roster.note_lost(job.peers[0])
    assert job.come[1]() == ""
    assert job.server.sent == []
    assert [end.rank for end in job.roster.failures] == [0]


@pytest.mark.parametrize(
    ("address", "seen"), [("127.0.0.1", "10.0.0.1"), ("192.168.0.1", "10.0.0.1"), ("10.0.0.7",) * 2]
)
def test_ranks_elsewhere_meet_rank_0_where_they_see_it(job, monkeypatch, address, seen):
    """Rank 0 on this machine, by either of its addresses, and on another one."""
    monkeypatch.setattr("dtrain.launcher.job.muster.own_addresses", lambda *_: ["10.0.0.1", "192.168.0.1"])
    monkeypatch.setattr("dtrain.launcher.job.muster.address_towards", {"10.0.0.9": "10.0.0.1"}.get)
    job.peers[0].address, job.peers[1].address, job.peers[1].host = address, "10.0.0.9", "other"
    for come in job.come:
        assert come() == ""
    assert [environment["MASTER_ADDR"] for environment in job.server.environments] == [seen] * 2
