"""The virtual clock: the bits of other transports, times that follow from the network alone, and their errors."""

from __future__ import annotations

import re
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.base.rank_info import rank_tag
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.programs import exchanges
from dtrain.collectives.programs.network import Line, Network
from dtrain.collectives.programs.program import Meet
from dtrain.collectives.programs.timeline import Span, timeline
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.transports.virtual_communicator import VirtualCommunicator, run_virtual

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from random_worlds import STAGING, random_world, run_random_program  # noqa: E402
from run_ranks import run_ranks  # noqa: E402

NUM_WORLDS = 200
TIMEOUT = 0.3
GAVE_UP = re.compile(r"but ranks? [\d-]+ left all_reduce sum f64\[3\] by CollectiveError: group 'world'")


@pytest.mark.parametrize(
    "tens", [0, 1, 2, *(pytest.param(n, marks=pytest.mark.many) for n in range(3, NUM_WORLDS // 10))]
)
def test_random_worlds_give_the_bits_of_threads(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        world = random_world(seed)

        def program(comm: VirtualCommunicator, world=world) -> str:
            comm.compute(world.begins[comm.rank])
            return run_random_program(comm, world.seed)

        virtual = run_virtual(program, world.network, staging_bytes=STAGING)
        threads = run_threads(world.size, lambda comm, seed=seed: run_random_program(comm, seed), staging_bytes=STAGING)
        assert virtual == threads, f"seed {seed}: {world}"


@pytest.mark.distributed
@pytest.mark.parametrize("size", [2, 3])
def test_random_programs_give_the_bits_of_mpi(size: int) -> None:
    network = Network.of_shape(1, size - 1)
    wanted = [
        run_virtual(lambda comm, seed=seed: run_random_program(comm, seed), network, staging_bytes=STAGING)
        for seed in range(20)
    ]
    for rank, seen in enumerate(run_ranks(__file__, "random_programs", size, timeout=100)):
        assert seen == {transport: [results[rank] for results in wanted] for transport in ("shared", "messages")}


def random_programs(world: Communicator) -> dict[str, list[str]]:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_communicator import make_mpi_communicator

    seen = {}
    for transport in ("shared", "messages"):
        comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, staging_bytes=STAGING)
        seen[transport] = [run_random_program(comm, seed) for seed in range(20)]
        comm.close()
    return seen


# Time


def ends(network: Network, program: Any) -> list[float]:
    def timed(comm: VirtualCommunicator) -> float:
        program(comm)
        return comm.now

    return run_virtual(timed, network)


def test_times_follow_from_the_network() -> None:
    near, far = Line(alpha=1e-6, beta=1e-10), Line(alpha=1e-3, beta=1e-6)
    n = 8192
    for line, hosts in ((near, (0, 0)), (far, (0, 1))):
        network = Network(hosts=hosts, within=near, between=line, copy=0.0)
        plan = [exchanges.in_slices(rank, 2, n) for rank in range(2)]
        wanted = network.meeting() + 2 * (line.alpha + n / 2 * line.beta)
        assert list(timeline(plan, network).ends.values()) == pytest.approx([wanted] * 2)
    assert ends(network, lambda comm: comm.all_gather(np.zeros(125))) == pytest.approx(
        [network.meeting() + far.predict(1000)] * 2
    )


def test_ranks_of_a_host_share_its_port() -> None:
    line = Line(alpha=0.0, beta=1e-6)
    network = Network(hosts=(0, 0, 1, 1), within=Line(alpha=0.0, beta=0.0), between=line, copy=0.0)
    plan = [exchanges.all_gather(rank, 4, 1000) for rank in range(4)]
    # Two ranks send to two ranks each: four messages through one port.
    assert max(timeline(plan, network).ends.values()) == pytest.approx(4 * line.predict(1000))


def test_the_same_world_has_the_same_times() -> None:
    world = random_world(7)

    def program(comm: VirtualCommunicator) -> None:
        comm.compute(world.begins[comm.rank])
        run_random_program(comm, 7)
        time.sleep(0.001 * comm.rank)  # which no virtual clock sees
        comm.barrier()

    assert ends(world.network, program) == ends(world.network, program)


def test_a_slow_link_delays_whoever_waits_for_it() -> None:
    slow = Network(hosts=(0, 1, 2), delays=(0.0, 0.0, 5.0))
    fast = Network(hosts=(0, 1, 2))

    def program(comm: VirtualCommunicator) -> None:
        comm.all_reduce(np.ones(100))

    assert max(ends(fast, program)) < 1
    first, second, itself = ends(slow, program)
    assert min(first, second) > 5 > 1 > itself  # what others send it comes in time


def test_asynchronous_calls_overlap_with_computation() -> None:
    network = Network(hosts=(0, 1), between=Line(alpha=0.0, beta=1e-6), copy=0.0)
    nbytes = 8 * 125_000

    def program(comm: VirtualCommunicator, is_async: bool, seconds: float) -> float:
        array = np.ones(nbytes // 8)
        if is_async:
            work = comm.all_reduce_async(array)
            comm.compute(seconds)
            assert work.wait()[0] == 2
        else:
            comm.compute(seconds)
            comm.all_reduce(array)
        return comm.now

    for is_async, wanted in ((False, 1.0 + 0.7), (True, 1.0)):
        seen = run_virtual(lambda comm, it=is_async: program(comm, it, 0.7), network, staging_bytes=1 << 20)
        assert seen == pytest.approx([wanted] * 2, rel=1e-3)


def test_the_steps_of_all_ranks_can_be_looked_at() -> None:
    def program(comm: VirtualCommunicator) -> list[Span]:
        comm.compute(1.0 if comm.rank == 1 else 0.0)
        comm.all_gather(np.zeros(125))
        return list(comm.spans)

    spans, *_ = run_virtual(program, Network(hosts=(0, 1, 1), copy=0.0))
    assert spans is not None
    kinds = {rank: [type(span.step).__name__ for span in spans if span.rank == rank] for rank in range(3)}
    assert kinds == {rank: ["Meet", "Copy", "Exchange", "Copy"] for rank in range(3)}
    waits = {span.rank: span.end - span.begin for span in spans if isinstance(span.step, Meet)}
    assert waits[0] == waits[2] > 1 > waits[1]
    assert all(one.end <= other.begin for one, other in pairwise(spans) if one.rank == other.rank)


def test_messages_take_their_time() -> None:
    network = Network(hosts=(0, 1), between=Line(alpha=2.0, beta=1e-3))

    def program(comm: VirtualCommunicator) -> float:
        if comm.rank == 0:
            comm.send(np.zeros(1000, np.uint8), destination=1)
        else:
            comm.recv(source=0)
        return comm.now

    assert run_virtual(program, network) == pytest.approx([0.0, 3.0])


# Ranks that are late, leave, or are killed: what a real world says


def error_of(comm: Communicator, count: int = 3) -> tuple[str, str]:
    """The kind of the error that a call ends in, and its words, without the number of the rank that says them."""
    with pytest.raises(CollectiveError) as caught:
        comm.all_reduce(np.ones(count))
    text = " ".join(str(caught.value).removeprefix(rank_tag()).split())
    return type(caught.value).__name__, re.sub(r" on rank \d:", ":", text, count=1)


def seen_by_survivors(comm: Communicator, kind: str, wait: Any) -> tuple[str, str] | None:
    """Rank 2 takes part in one call and then comes late, leaves or is killed; what the others read."""
    comm.all_gather(np.zeros(2))
    if comm.rank != 2:
        return error_of(comm)
    if kind == "leaves":
        comm.close()
        return None
    wait()
    return error_of(comm) if kind == "is late" else None


def on_the_virtual_clock(kind: str, hosts: tuple[int, ...]) -> list[tuple[str, str] | None]:
    def program(comm: VirtualCommunicator) -> tuple[str, str] | None:
        return seen_by_survivors(comm, kind, lambda: comm.compute(100 * TIMEOUT))

    killed = {2: 2 * TIMEOUT} if kind == "is killed" else {}
    return run_virtual(program, Network(hosts=hosts), timeout=TIMEOUT, killed=killed)


@pytest.fixture(scope="module")
def real() -> list[dict[str, Any]]:
    return run_ranks(__file__, "real_ends", 3, timeout=60)


def real_ends(world: Communicator) -> dict[str, Any]:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_communicator import make_mpi_communicator

    seen = {}
    for transport in ("shared", "messages"):
        for kind in ("is late", "leaves"):
            comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, timeout=TIMEOUT)
            seen[f"{kind} {transport}"] = seen_by_survivors(comm, kind, lambda: time.sleep(2 * TIMEOUT))
            world.barrier()
    return seen


@pytest.mark.distributed
@pytest.mark.parametrize(("transport", "hosts"), [("shared", (0, 0, 0)), ("messages", (0, 0, 1))])
@pytest.mark.parametrize("kind", ["is late", "leaves", "is killed"])
def test_who_is_late_or_gone_is_told_as_in_a_real_world(
    kind: str, transport: str, hosts: tuple[int, ...], real: list[dict[str, Any]]
) -> None:
    # A rank that is killed says nothing, as one that stands still for longer than all others wait.
    like = "is late" if kind == "is killed" else kind
    virtual, texts = on_the_virtual_clock(kind, hosts), [seen[f"{like} {transport}"] for seen in real]
    waited = texts[:2]
    assert virtual[0] == virtual[1] and virtual[0] in waited
    # Of two that wait as long, a real one may hear first that the other has given up.
    gave_up = [seen for seen in waited if seen != virtual[0]]
    if kind == "is late":
        gave_up += [virtual[2], texts[2]]
    else:
        assert virtual[2] is None
    for error, text in gave_up:
        assert error == "PeerLostError" and GAVE_UP.search(text), text


def test_a_rank_that_is_killed_in_a_call_leaves_the_others_waiting_for_it() -> None:
    network = Network(hosts=(0, 1, 2), between=Line(alpha=1.0, beta=0.0), copy=0.0)

    def program(comm: VirtualCommunicator) -> tuple[str, str, float]:
        kind, text = error_of(comm, 3000)
        return kind, text, comm.now

    # The ranks meet in two rounds, exchange slices, and then lack the result of one of them.
    first, second, third = run_virtual(program, network, timeout=30.0, killed={1: 2.5})
    assert second is None and first is not None and third is not None
    for kind, text, now in (first, third):
        assert kind == "CollectiveError" and now > 30
        assert "expected every rank within 30 s, got not all of them" in text


def test_a_group_goes_on_without_a_rank_of_another() -> None:
    def program(comm: VirtualCommunicator) -> float:
        group = comm.split(comm.rank // 2)
        assert group is not None
        if comm.rank == 3:
            comm.compute(10.0)
        if comm.rank == 2:
            with pytest.raises(CollectiveError, match="got nothing from rank 3"):
                group.all_reduce(np.ones(1))
            return 0.0
        return float(group.all_reduce(np.ones(1))[0])

    assert run_virtual(program, Network.of_shape(2, 2), killed={3: 5.0}) == [2.0, 2.0, 0.0, None]


def test_a_killed_rank_sends_no_message() -> None:
    def program(comm: VirtualCommunicator) -> float:
        if comm.rank == 0:
            comm.compute(2.0)
        with pytest.raises(CollectiveError, match="within 60 s, got none") as caught:
            comm.recv(source=0)
        assert not isinstance(caught.value, PeerLostError)
        return comm.now

    assert run_virtual(program, Network.of_shape(2), killed={0: 1.0}) == [None, 60.0]


@pytest.mark.parametrize("seconds", [float("nan"), -1.0, float("inf")])
def test_computing_takes_a_time_that_there_is(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"compute: expected a finite time of at least 0 s, got (nan|-1\.0|inf) s"):
        run_virtual(lambda comm: comm.compute(seconds), Network.of_shape(2))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeout": float("nan")}, "timeout: expected more than 0 s, got nan s"),
        ({"timeout": 0.0}, r"timeout: expected more than 0 s, got 0\.0 s"),
        ({"killed": {9: 1.0}}, "killed: expected ranks from 0 to 1, got rank 9"),
        ({"killed": {0: float("nan")}}, "killed: expected times of at least 0 s, got nan s of rank 0"),
    ],
)
def test_times_and_ranks_that_there_are_not(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"run_virtual, {words}"):
        run_virtual(lambda comm: comm.barrier(), Network.of_shape(2), **given)
