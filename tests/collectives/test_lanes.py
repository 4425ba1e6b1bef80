"""Lanes: what breaks in one stays there, and who is more urgent goes first for a while."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.collectives.communicator import ordered_calls
from dtrain.collectives.transports.thread_communicator import ThreadCommunicator, run_threads


class Interrupted(np.ndarray):
    """An array in whose copy somebody presses Ctrl-C."""

    def reshape(self, *shape: int) -> np.ndarray:
        raise KeyboardInterrupt


def test_a_lane_breaks_for_itself() -> None:
    def program(comm: ThreadCommunicator) -> None:
        lane = comm.lane("statistics")
        if comm.rank == 1:
            with pytest.raises(KeyboardInterrupt):
                lane.all_reduce(np.ones(3).view(Interrupted))
        else:
            with pytest.raises(PeerLostError, match=r"group 'world statistics', collective 1 .* but rank 1 left"):
                lane.all_reduce(np.ones(3))
        assert comm.all_reduce(np.ones(1))[0] == 3
        with pytest.raises(CollectiveError, match="is broken since a call ended half-way"):
            lane.barrier()
        assert comm.all_reduce(np.ones(1))[0] == 3 and not comm.is_broken

    run_threads(3, program)


def test_a_lane_that_was_closed_is_followed_by_a_new_one() -> None:
    def program(comm: ThreadCommunicator) -> None:
        first = comm.lane("statistics")
        assert first.all_reduce(np.full(1, comm.rank))[0] == 3
        first.close()
        second = comm.lane("statistics")
        assert second is not first and comm.lane("statistics") is second
        assert second.all_reduce(np.full(2, comm.rank + 1.0)).tolist() == [6, 6]
        with pytest.raises(CollectiveError, match="expected an open communicator"):
            first.barrier()
        assert comm.all_reduce(np.ones(1))[0] == 3

    run_threads(3, program)


def test_calls_give_way_to_lanes_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered_calls, "GIVES_WAY_SECONDS", 0.1)

    def program(comm: ThreadCommunicator) -> tuple[float, float]:
        lane, seconds = comm.lane("statistics"), []
        for is_underway in (True, False):
            comm.barrier()
            lane._is_underway = is_underway
            begin = time.monotonic()
            comm.all_reduce_async(np.ones(3)).wait(5)
            seconds.append(time.monotonic() - begin)
        return seconds[0], seconds[1]

    for beside, alone in run_threads(2, program):
        assert beside >= 0.1 > alone
