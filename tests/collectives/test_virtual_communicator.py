"""The virtual clock: times that follow from the network and the program alone."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.collectives.programs import exchanges
from dtrain.collectives.programs.network import Line, Network
from dtrain.collectives.programs.program import Meet
from dtrain.collectives.programs.timeline import Span, timeline
from dtrain.collectives.transports.virtual_communicator import VirtualCommunicator, run_virtual

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from random_worlds import random_world, run_random_program  # noqa: E402


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
        run_random_program(comm, world, comm.compute)
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
