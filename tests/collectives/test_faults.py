"""Random exceptions in random calls: never a wrong result, and an error on every rank from then on."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.thread_communicator import run_threads

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from fault_program import FAULTS, QUICK_FAULTS, SIGNAL_FAULTS, Report, check_trial, run_trial  # noqa: E402
from run_ranks import run_ranks  # noqa: E402

TIMEOUT = 1.0


def check_on_threads(seeds: range, faults: dict[str, int]) -> None:
    trials = []
    for seed in seeds:
        reports = run_threads(2 + seed % 3, lambda comm, seed=seed: run_trial(comm, seed, faults), timeout=TIMEOUT)
        check_trial(seed, reports, TIMEOUT)
        trials.append(reports)
    show("threads", trials)


def show(title: str, trials: list[list[Report]]) -> None:
    """Counts for who reads the log: trials by fault, and how many calls raised afterwards."""
    faults = Counter(reports[0].fault for reports in trials)
    raised = sum(len(report.raised) for reports in trials for report in reports)
    print(f"\n{title}: {len(trials)} trials, {dict(faults)}, {raised} calls raised, 0 wrong results")


def test_some_faults_on_threads() -> None:
    check_on_threads(range(60), QUICK_FAULTS)


def test_a_late_rank_on_threads() -> None:
    check_on_threads(range(1), {"late": 1})


@pytest.mark.faults
def test_many_faults_on_threads() -> None:
    check_on_threads(range(1000, 1500), FAULTS)


@pytest.mark.distributed
def test_some_faults_under_mpirun() -> None:
    check_under_mpirun(("mpi_shared", "mpi_messages"), first=0, count=12)


@pytest.mark.distributed
def test_no_thread_stays_in_a_split_that_a_rank_has_left() -> None:
    """MPI crashes that ends while a thread of ours is in it."""
    for said, waiting in run_ranks(__file__, "leave_a_split", 3):
        assert "no memory" in said
        assert waiting == 0


def leave_a_split(world: Communicator) -> tuple[str, int]:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_start import wait_until
    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    comm: Any = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport="mpi_messages", timeout=20.0)

    def no_memory(*_: object) -> None:
        raise MemoryError("no memory")

    if comm.rank == 1:
        comm._split_comm = no_memory
    if comm.rank == 0:  # hears of it only when MPI's split has come to its end
        hears = comm._wait_until
        comm._wait_until = lambda done: (wait_until(done, 20.0), setattr(comm, "_wait_until", hears))
    try:
        comm.split(0)
    except (MemoryError, CollectiveError) as error:
        said = str(error)
    comm.close()
    return said, [thread.name for thread in threading.enumerate()].count("split")


@pytest.mark.faults
@pytest.mark.distributed
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("transport", ["mpi_shared", "mpi_messages"])
def test_many_faults_under_mpirun(transport: str, size: int) -> None:
    check_under_mpirun((transport,), first=2000 + 200 * size, count=125, size=size)


def check_under_mpirun(transports: tuple[str, ...], *, first: int, count: int, size: int = 3) -> None:
    arguments = {"transports": transports, "first": first, "count": count}
    by_rank = run_ranks(__file__, "trials_of_a_rank", size, arguments=arguments, timeout=60 + 3 * count)
    for transport in transports:
        trials = [list(reports) for reports in zip(*(rank[transport] for rank in by_rank), strict=True)]
        for seed, reports in enumerate(trials, first):
            check_trial(seed, reports, TIMEOUT)
        show(f"{transport}, {size} ranks", trials)


def trials_of_a_rank(world: Communicator, transports: list[Any], first: int, count: int) -> dict[str, list[Report]]:
    return {transport: list(trials_of(world, transport, first, count)) for transport in transports}


def trials_of(world: Communicator, transport: Any, first: int, count: int) -> Iterator[Report]:
    """Each trial has a world of its own: a broken one cannot be used again."""
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    for seed in range(first, first + count):
        comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, timeout=TIMEOUT)
        yield run_trial(comm, seed, SIGNAL_FAULTS)
        with contextlib.suppress(BaseException):  # an asynchronous call that was left
            comm.close()
        world.barrier()
