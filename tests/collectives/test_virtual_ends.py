"""Ranks that are late, leave or are killed on the virtual clock see what a real world sees, where they really are."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.base.rank_info import rank_tag
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.programs.network import Line, Network
from dtrain.collectives.transports.virtual_communicator import VirtualCommunicator, run_virtual

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from run_ranks import run_ranks  # noqa: E402

TIMEOUT = 0.3
LONGER = 1.0  # than the others may differ in when they begin to wait
LATE = 5.0  # seconds
GAVE_UP = re.compile(r"but ranks? [\d-]+ left all_reduce sum f64\[3\] by CollectiveError: group 'world'")
PLENTY = 20.0

Seen = list[tuple[str, str]]


class Time:
    """How it passes in a scene: rank 2 is as late as the others need to have given up."""

    def be_late(self) -> None: ...

    def have_given_up(self) -> None: ...

    def meet(self) -> None:
        """Ranks 0 and 1 go on together."""


@dataclass
class RealTime(Time):
    """Rank 2 waits until the others tell it, however long they take."""

    mpi: Any

    def be_late(self) -> None:
        for other in (0, 1):
            self.mpi.recv(source=other)

    def have_given_up(self) -> None:
        self.mpi.send(None, dest=2)

    def meet(self) -> None:
        if self.mpi.rank != 2:
            self.mpi.sendrecv(None, dest=1 - self.mpi.rank, source=1 - self.mpi.rank)


@dataclass
class VirtualTime(Time):
    comm: VirtualCommunicator

    def be_late(self) -> None:
        self.comm.compute(LATE)


def error_of(call: Callable[[], object]) -> tuple[str, str]:
    """The kind of the error that a call ends in, and its words, without the number of the rank that says them."""
    with pytest.raises((CollectiveError, TimeoutError)) as caught:
        call()
    text = " ".join(str(caught.value).removeprefix(rank_tag()).split())
    return type(caught.value).__name__, re.sub(r" on rank \d", "", text, count=1)


def reduction(comm: Communicator, clock: Time, timeout: float = LONGER) -> tuple[str, str]:
    clock.meet()
    comm.timeout = timeout
    return error_of(lambda: comm.all_reduce(np.ones(3)))


def message(comm: Communicator) -> tuple[str, str]:
    """A message that is waited for in the two ways that there are, by one rank each."""
    if comm.rank == 0:
        return error_of(lambda: comm.recv(source=2, tag=7))
    return error_of(comm.recv_async(source=2, tag=7).wait)


# What rank 2 of three does, and what the others see.


def it_comes_late(comm: Communicator, clock: Time) -> Seen:
    if comm.rank == 2:
        clock.be_late()
        return [reduction(comm, clock)]
    seen = [reduction(comm, clock)]
    clock.have_given_up()
    return seen


def it_leaves(comm: Communicator, clock: Time) -> Seen:
    if comm.rank == 2:
        comm.close()
        return []
    comm.timeout = PLENTY
    return [message(comm), reduction(comm, clock, PLENTY)]


def it_leaves_late(comm: Communicator, clock: Time) -> Seen:
    if comm.rank == 2:
        clock.be_late()
        comm.close()
        return []
    seen = [message(comm), reduction(comm, clock)]
    clock.have_given_up()
    return seen


def its_message_comes_late(comm: Communicator, clock: Time) -> Seen:
    """The message is there for who asks later."""
    if comm.rank == 2:
        clock.be_late()
        for destination in (0, 1):
            comm.send(np.full(2, destination), destination=destination, tag=7)
        return []
    seen = [message(comm)]
    clock.have_given_up()
    comm.timeout = PLENTY
    return [*seen, ("received", str(comm.recv(source=2, tag=7).tolist()))]


def its_part_comes_late(comm: Communicator, clock: Time) -> Seen:
    """A call that goes on while others have no more patience for it."""
    comm.timeout = PLENTY
    if comm.rank == 2:
        clock.be_late()
    work: Work[np.ndarray] = comm.all_reduce_async(np.full(1, comm.rank))
    seen = [] if comm.rank == 2 else [error_of(lambda: work.wait(TIMEOUT))]
    if comm.rank != 2:
        clock.have_given_up()
    return [*seen, ("received", str(work.wait().tolist()))]


def it_is_killed(comm: Communicator, clock: Time) -> Seen:
    if comm.rank == 2:
        if isinstance(clock, VirtualTime):
            clock.be_late()  # it does not live as long
        os.kill(os.getpid(), signal.SIGKILL)
    return [message(comm), reduction(comm, clock)]


SCENES = [it_comes_late, it_leaves, it_leaves_late, its_message_comes_late, its_part_comes_late, it_is_killed]


def on_the_virtual_clock(scene: Callable[..., Seen], hosts: tuple[int, ...]) -> list[Seen | None]:
    def program(comm: VirtualCommunicator) -> Seen:
        comm.all_gather(np.zeros(2))
        return scene(comm, VirtualTime(comm))

    killed = {2: LATE / 2} if scene is it_is_killed else {}
    return run_virtual(program, Network(hosts=hosts), timeout=TIMEOUT, killed=killed)


@pytest.fixture(scope="module")
def real() -> list[dict[str, list[Seen | None]] | None]:
    return run_ranks(__file__, "real_ends", 6, timeout=100, killed=(2, 5))


def real_ends(whole: Communicator) -> dict[str, list[Seen | None]]:
    """Two worlds of three ranks, one of each transport; the last that they see is how one of each is killed."""
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    half = whole.rank // 3
    mpi, seen = MPI.COMM_WORLD.Split(half), {}
    for scene in SCENES:
        comm = make_mpi_communicator(mpi.Dup(), transport=("mpi_shared", "mpi_messages")[half], timeout=TIMEOUT)
        comm.timeout = PLENTY  # until all have begun
        comm.all_gather(np.zeros(2))
        comm.timeout = TIMEOUT
        own = scene(comm, RealTime(mpi))
        seen[scene.__name__] = [own, own, None] if scene is it_is_killed else mpi.allgather(own)
    return seen


@pytest.mark.distributed
@pytest.mark.parametrize(("half", "hosts"), [(0, (0, 0, 0)), (1, (0, 0, 1))], ids=["mpi_shared", "mpi_messages"])
@pytest.mark.parametrize("scene", SCENES, ids=[scene.__name__ for scene in SCENES])
def test_what_is_seen_is_what_a_real_world_sees(
    scene: Callable[..., Seen], half: int, hosts: tuple[int, ...], real: list[dict[str, list[Seen | None]] | None]
) -> None:
    virtual = on_the_virtual_clock(scene, hosts)
    first, second, _ = real[3 * half : 3 * half + 3]
    assert first is not None and second is not None
    seen = [first[scene.__name__][0], second[scene.__name__][1], first[scene.__name__][2]]
    assert (virtual[2] is None) == (seen[2] is None) == (scene is it_is_killed)
    assert [len(said or []) for said in virtual] == [len(said or []) for said in seen]
    for step in range(max(len(said or []) for said in seen)):
        assert causes(virtual, step) == causes(seen, step)


def causes(seen: list[Seen | None], step: int) -> set[tuple[str, str]]:
    """What ranks read, apart from those who hear first that another has given up: which do is a matter of moments."""
    said = {those[step] for those in seen if those and len(those) > step}
    followed = {(error, text) for error, text in said if GAVE_UP.search(text)}
    assert {error for error, _ in followed} <= {"PeerLostError"} and followed != said
    return said - followed


def test_a_late_message_takes_the_time_that_was_waited_for_it() -> None:
    def program(comm: VirtualCommunicator) -> list[float]:
        if comm.rank == 0:
            comm.compute(100.0)
            comm.send(np.ones(1), destination=1)
            return []
        times = []
        for call in (lambda: comm.recv(source=0), lambda: comm.recv_async(source=0).wait()):
            with pytest.raises(CollectiveError, match="within 1 s, got none"):
                call()
            times.append(comm.now)
        work = comm.recv_async(source=0)
        with pytest.raises(TimeoutError, match=r"expected the collective to end within 0\.5 s, got no end yet"):
            work.wait(0.5)
        times.append(comm.now)
        comm.compute(97.0)
        with pytest.raises(CollectiveError, match="within 1 s, got none"):  # it gave up at 3 s
            work.wait()
        times.append(comm.now)
        assert comm.recv(source=0) == 1
        return [*times, comm.now]

    _, times = run_virtual(program, Network(hosts=(0, 1), between=Line(alpha=0.0, beta=0.0)), timeout=1.0)
    assert times == pytest.approx([1.0, 2.0, 2.5, 99.5, 100.0])


def test_messages_that_are_waited_for_together_wait_one_behind_the_other() -> None:
    def program(comm: VirtualCommunicator) -> list[float]:
        if comm.rank == 0:
            comm.compute(1.5)
            comm.send(np.ones(1), destination=1)
            return []
        first, second = comm.recv_async(source=0), comm.recv_async(source=0)
        assert second.wait() == 1  # which began to wait when the first had given up
        times = [comm.now]
        with pytest.raises(CollectiveError, match="within 1 s, got none"):
            first.wait()
        return [*times, comm.now]

    _, times = run_virtual(program, Network(hosts=(0, 1), between=Line(alpha=0.0, beta=0.0)), timeout=1.0)
    assert times == pytest.approx([1.5, 1.5])


def test_a_rank_that_is_killed_in_a_call_leaves_the_others_waiting_for_it() -> None:
    network = Network(hosts=(0, 1, 2), between=Line(alpha=1.0, beta=0.0), copy=0.0)

    def program(comm: VirtualCommunicator) -> tuple[str, str, float]:
        kind, text = error_of(lambda: comm.all_reduce(np.ones(3000)))
        return kind, text, comm.now

    # The ranks meet in two rounds, exchange slices, and then lack the result of one of them.
    first, second, third = run_virtual(program, network, timeout=30.0, killed={1: 2.5})
    assert second is None and first is not None and third is not None
    for kind, text, now in (first, third):
        assert kind == "CollectiveError" and now > 30
        assert "expected every rank within 30 s, got not all of them" in text


def test_what_a_rank_began_before_it_was_killed_goes_on() -> None:
    def program(comm: VirtualCommunicator) -> tuple[float, str] | None:
        if comm.rank == 1:
            comm.all_reduce_async(np.ones(1))
            time.sleep(0.1)  # until its thread waits there
            comm.compute(10.0)
            return None
        time.sleep(0.3)  # until the other has really been killed, or would have been
        return float(comm.all_reduce(np.ones(1))[0]), error_of(lambda: comm.all_reduce(np.ones(3)))[1]

    first, second = run_virtual(program, Network(hosts=(0, 0)), timeout=30.0, killed={1: 5.0})
    assert second is None and first is not None and first[0] == 2
    assert "got nothing from rank 1; rank 1 was last in all_reduce sum f64[1]" in first[1]


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
