"""One seeded program over random worlds: the same bits on the virtual clock, on threads and on MPI."""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path

import pytest

from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.transports.virtual_communicator import VirtualCommunicator, run_virtual

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from random_worlds import MAX_SIZE, STAGING, RandomWorld, random_world, run_random_program  # noqa: E402
from run_ranks import run_ranks  # noqa: E402

NUM_WORLDS = 200
FEW_RANKS = 3


@cache
def on_the_virtual_clock(seed: int) -> list[str | None]:
    world = random_world(seed)

    def program(comm: VirtualCommunicator) -> str:
        return run_random_program(comm, world, comm.compute)

    return run_virtual(program, world.network, staging_bytes=STAGING)


@pytest.mark.parametrize(
    "tens", [0, 1, 2, *(pytest.param(n, marks=pytest.mark.many) for n in range(3, NUM_WORLDS // 10))]
)
def test_random_worlds_give_the_bits_of_threads(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        world = random_world(seed)
        threads = run_threads(
            world.size, lambda comm, world=world: run_random_program(comm, world, time.sleep), staging_bytes=STAGING
        )
        assert on_the_virtual_clock(seed) == threads, f"seed {seed}: {world}"


@pytest.mark.distributed
@pytest.mark.parametrize("most", [FEW_RANKS, pytest.param(MAX_SIZE, marks=pytest.mark.many)])
def test_random_worlds_give_the_bits_of_mpi(most: int) -> None:
    """Worlds of up to `most` ranks in one mpirun, each on some of its ranks, and some of them at the same time."""
    seeds = [seed for seed in range(NUM_WORLDS) if random_world(seed).size <= most]
    assert len(seeds) > 20
    ranks = run_ranks(__file__, "worlds_on_mpi", most, arguments={"seeds": seeds}, timeout=280)
    for seed in seeds:
        seen = [results[str(seed)] for results in ranks if str(seed) in results]
        for transport in ("as on its hosts", "the other way"):
            digests = [digest for _, digest in sorted(results[transport] for results in seen)]
            assert digests == on_the_virtual_clock(seed), f"seed {seed}, {transport}: {random_world(seed)}"


def worlds_on_mpi(whole: Communicator, seeds: list[int]) -> dict[str, dict[str, tuple[int, str]]]:
    """What this rank got in its worlds: each takes the ranks behind those of the world before it."""
    from mpi4py import MPI

    seen, end = {}, 0
    for seed in seeds:
        world = random_world(seed)
        begin = end if end + world.size <= whole.size else 0
        end = begin + world.size
        if begin <= whole.rank < end:
            members = MPI.COMM_WORLD.group.Incl(range(begin, end))
            seen[str(seed)] = run_on_mpi(MPI.COMM_WORLD.Create_group(members, tag=seed), world)
    return seen


def run_on_mpi(mpi, world: RandomWorld) -> dict[str, tuple[int, str]]:
    """This rank's place in the world, and what it got: through what its hosts ask for, and through what they do not."""
    from dtrain.collectives.transports import mpi_world

    hosts = world.network.hosts
    is_shared, seen = len(set(hosts)) == 1, {}
    before = mpi_world._hosts
    mpi_world._hosts = lambda comm: tuple(map(hosts.index, hosts))
    try:
        for way, transport in (
            ("as on its hosts", "auto"),
            ("the other way", "mpi_messages" if is_shared else "mpi_shared"),
        ):
            comm = mpi_world.make_mpi_communicator(mpi.Dup(), transport=transport, staging_bytes=STAGING)
            assert comm.name == ("mpi_shared" if is_shared == (transport == "auto") else "mpi_messages")
            seen[way] = comm.rank, run_random_program(comm, world, time.sleep)
            for group in reversed(comm.family):
                group.close()
    finally:
        mpi_world._hosts = before
    return seen
