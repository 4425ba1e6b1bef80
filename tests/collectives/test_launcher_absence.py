"""Ranks that no launcher of ours has started: who serves the control channel, and for how long."""

from __future__ import annotations

import threading

import pytest

from dtrain.base.rank_info import RankInfo
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.world import launcher_absence


@pytest.mark.parametrize("size", [2, 3])
def test_rank_0_stays_until_all_are_connected(monkeypatch, size):
    """Its server would be gone for a rank that comes late, whatever rank 0's script still does."""
    connected: list[int] = []
    may_connect = threading.Event()

    def connect(address, token, *, info):
        if info.rank == size - 1:
            assert may_connect.wait(20)
        connected.append(info.rank)
        return address

    monkeypatch.setattr(launcher_absence, "connect_control", connect)
    left: list[list[int]] = []

    def rank(world):
        info = RankInfo(rank=world.rank, size=size, local_rank=world.rank, local_size=size)
        if world.rank == 0:
            threading.Timer(0.2, may_connect.set).start()
        address = launcher_absence._share_control_channel(world, info, is_one_host=True)
        left.append(sorted(connected))
        return address

    addresses = run_threads(size, rank)
    assert left == [list(range(size))] * size and len(set(addresses)) == 1
