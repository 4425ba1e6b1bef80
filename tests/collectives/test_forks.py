"""A fork of a rank: its copies of communicators refuse to talk, and nothing of them reaches the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import collectives as dist
from dtrain.base.errors import CollectiveError

CALLS: list[Callable[[Any], object]] = [
    lambda comm: comm.all_reduce(np.full(1, 100.0)),
    lambda comm: comm.all_reduce_async(np.full(1, 100.0)),
    lambda comm: comm.barrier(),
    lambda comm: comm.split(0),
    lambda comm: comm.allocate(64),
    lambda comm: comm.send(np.ones(1), destination=0),
    lambda comm: comm.recv(source=0),
    lambda comm: comm.recv_async(source=0),
    lambda comm: comm.all_gather_object(1),
]


def refuses_everything(comm: Any) -> bool:
    for call in CALLS:
        with pytest.raises(CollectiveError, match="the process that joined it, got a fork of it"):
            call(comm)
    comm.close()
    return True


def in_a_fork(check: Callable[[], bool]) -> int:
    """The exit code of a child in which `check` is asked."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_does_not_talk_for_its_rank() -> None:
    def program(comm: Any) -> list[float]:
        comm.barrier()
        if comm.rank == 1:
            assert in_a_fork(lambda: refuses_everything(comm)) == 0
        return [float(comm.all_reduce(np.full(1, value + comm.rank))[0]) for value in (1.0, 10.0)]

    assert dist.run_threads(2, program, timeout=20) == [[3, 21]] * 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_world_of_one_has_nobody_to_mislead() -> None:
    alone = dist.SelfCommunicator()
    assert in_a_fork(lambda: alone.all_reduce(np.ones(1))[0] == 1) == 0
