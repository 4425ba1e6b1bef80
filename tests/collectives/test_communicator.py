"""The contract, over every communicator there is: one table of checks, run in worlds of 1 to 5 ranks."""

from __future__ import annotations

import sys
import traceback
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from dtrain.collectives.communicator.contract import TIMEOUT_VARIABLE, Communicator, default_timeout
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.on_threads import ON_THREADS
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.transports.table import TRANSPORTS, join
from dtrain.collectives.transports.thread_communicator import ThreadCommunicator, run_threads

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from contract import CHECKS  # noqa: E402
from run_ranks import run_ranks  # noqa: E402

WORLD_SIZES = (1, 2, 3, 4, 5)
# Transports of the table by what they stand on; those beside another communicator have tests of their own.
ALONE = [name for name, row in TRANSPORTS.items() if row.ground == "process"]
OVER_MPI = [name for name, row in TRANSPORTS.items() if row.ground == "mpi"]
HOSTS = [(0,), (0, 1), (0, 0, 0), (0, 0, 0, 0), (0, 1, 1, 1, 1)]


@pytest.mark.parametrize("transport", ALONE)
@pytest.mark.parametrize("name", CHECKS)
def test_alone(transport: str, name: str) -> None:
    world = join(transport, Membership(), "a test")
    assert world is not None and world.name == transport and world.reason == "a test"
    CHECKS[name](world)


@pytest.mark.parametrize("hosts", HOSTS, ids=lambda hosts: "".join(map(str, hosts)))
@pytest.mark.parametrize("transport", ON_THREADS)
@pytest.mark.parametrize("name", CHECKS)
def test_in_threads(transport: str, hosts: tuple[int, ...], name: str) -> None:
    ON_THREADS[transport](hosts, CHECKS[name])


@pytest.mark.distributed
@pytest.mark.parametrize("size", WORLD_SIZES)
def test_mpi(size: int) -> None:
    """One mpirun per size runs the whole contract over all transports of MPI."""
    for rank, verdicts in enumerate(run_ranks(__file__, "mpi_program", size, timeout=150)):
        assert verdicts == {transport: list(CHECKS) for transport in OVER_MPI}, f"rank {rank}"


def mpi_program(world: Communicator) -> dict[str, list[str]]:
    """All checks on one MPI world. The first failure ends the job: other ranks may be in the middle of the check."""
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    passed: dict[str, list[str]] = {}
    for transport in OVER_MPI:
        comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, staging_bytes=1 << 16, timeout=30.0)
        assert comm.name == transport and comm.reason == "asked for"
        passed[transport] = []
        for name, run_check in CHECKS.items():
            try:
                run_check(comm)
            except BaseException:
                raise AssertionError(f"{name} over {transport}:\n{traceback.format_exc()}") from None
            passed[transport].append(name)
        comm.close()
    return passed


def test_timeout_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_timeout() == 1800
    monkeypatch.setenv(TIMEOUT_VARIABLE, "2.5")
    assert SelfCommunicator().timeout == 2.5
    for bad in ("soon", "-1", "0", "nan"):
        monkeypatch.setenv(TIMEOUT_VARIABLE, bad)
        with pytest.raises(ValueError, match=f"{TIMEOUT_VARIABLE}: expected a number of seconds above 0, got '{bad}'"):
            default_timeout()


def test_timeouts_are_looked_at_when_they_are_given() -> None:
    for bad in (float("nan"), -1, 0, "5", True, timedelta(0)):
        with pytest.raises(ValueError, match="expected a number of seconds above 0, or a timedelta"):
            SelfCommunicator(timeout=bad)  # type: ignore[arg-type]
    comm = SelfCommunicator(timeout=timedelta(minutes=1))  # type: ignore[arg-type]
    assert comm.timeout == 60
    with pytest.raises(ValueError, match="seconds above 0"):
        comm.timeout = float("nan")
    assert comm.timeout == 60

    def program(world: ThreadCommunicator) -> float:
        world.timeout = float("inf")
        return float(world.all_reduce(np.ones(1))[0])

    assert run_threads(2, program) == [2, 2]
