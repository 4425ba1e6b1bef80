"""Groups of MPI ranks: where their memory comes from and goes, which way they take, and who has left them."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, CollectiveMismatchError, PeerLostError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.mpi_transfers import Transfer, Transfers

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from run_ranks import run_ranks  # noqa: E402

pytestmark = pytest.mark.distributed
TRANSPORTS = ("mpi_shared", "mpi_messages")


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """What every program returned on every rank, all from one mpirun."""
    return run_ranks(__file__, "programs", 3, timeout=240)


def programs(world: Communicator) -> dict[str, Any]:
    done: dict[str, Any] = {"hosts": groups_over_hosts(world), "kept": kept(world), "other": other_transport(world)}
    for transport in TRANSPORTS:
        done[f"growth {transport}"] = growth(world, transport)
        done[f"gone {transport}"] = gone(world, transport)
        done[f"memory {transport}"] = memory(world, transport)
        done[f"retry {transport}"] = retry(world, transport)
        done[f"broken {transport}"] = broken(world, transport)
    return done


def make(transport: Any, timeout: float = 12.0) -> Communicator:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    return make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, timeout=timeout)


def message_of(call: Callable[[], object], kind: type[BaseException]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_a_group_on_one_host_shares_memory_wherever_the_world_is(results: list[dict[str, Any]]) -> None:
    names = [result["hosts"] for result in results]
    assert names == [["mpi_messages", "mpi_shared", "mpi_messages"]] * 3


def groups_over_hosts(world: Communicator) -> list[str]:
    """Ranks 0 and 1 on one host, rank 2 on another."""
    from dtrain.collectives.transports import mpi_world

    before = mpi_world._hosts
    mpi_world._hosts = lambda comm: (0, 0, 2)
    try:
        comm = make("auto")
    finally:
        mpi_world._hosts = before
    local, across = comm.split(comm.rank // 2), comm.split(0, key=-comm.rank)
    assert local is not None and across is not None
    total = comm.all_reduce(np.full(3, 1.0 + comm.rank))[0]
    assert total == across.all_reduce(np.full(3, 1.0 + comm.rank))[0] == 6
    assert local.all_reduce(np.full(3, 1.0 + comm.rank))[0] == 3
    assert local.allocate(64).nbytes == 64
    # Who is in no group of this split still takes part in making those of the others.
    pair = comm.split(None if comm.rank == 0 else 1)
    assert (pair is None) == (comm.rank == 0)
    if pair is not None:
        assert pair.name == "mpi_messages" and pair.all_gather_object(comm.rank) == [1, 2]
        pair.close()
    names = [comm.name, local.name, across.name]
    for group in (across, local, comm):
        group.close()
    return names


def test_a_group_may_take_a_transport_that_what_it_came_of_has_not(results: list[dict[str, Any]]) -> None:
    wanted = [["mpi_messages", "a test", 3.0], ["mpi_messages", "a test", 3.0], ["mpi_messages", "a test", 4.0]]
    assert [result["other"] for result in results] == wanted


def other_transport(world: Communicator) -> list[Any]:
    """Groups of a world that has shared memory and no communicator of MPI that its groups could come of."""
    comm: Any = make("mpi_shared")
    inner: Any = comm.split(0)
    inner._job = replace(inner._job, forced=("mpi_messages", "a test"))
    group = inner.split(inner.rank // 2)
    seen = [group.name, group.reason, float(group.all_reduce(np.full(1, 2.0 * comm.rank + (comm.rank == 0)))[0])]
    for one in (group, inner, comm):
        one.close()
    return seen


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_close_gives_memory_back(transport: str, results: list[dict[str, Any]]) -> None:
    for result in results:
        grown, open_files, num_queues, is_gone = result[f"growth {transport}"]
        assert is_gone, "something of a closed group leads back to it"
        assert grown < 8.0, f"KiB a group: {grown}"
        assert open_files < 10
        assert num_queues == 0, "the messages of groups that are closed is kept"


def growth(world: Communicator, transport: Any, count: int = 100) -> tuple[float, int, int, bool]:
    """What stays of groups that were made and closed: KiB for each, files, queues of messages; whether it is gone."""
    comm: Any = make(transport)

    def make_groups(number: int) -> None:
        for _ in range(number):
            group = comm.split(comm.rank // 2)
            assert group is not None
            if group.size == 2:
                group.send(np.full(3, 1.0), destination=1 - group.rank)
                group.recv(source=1 - group.rank)
            group.barrier()
            group.all_reduce(np.ones(3))
            group.close()
            group.close()  # harmless
            last[:] = [weakref.ref(group)]

    last: list[weakref.ref[Communicator]] = []
    make_groups(30)
    memory_before, files_before = _resident(), len(list(Path("/proc/self/fd").iterdir()))
    make_groups(count)
    grown, files = (_resident() - memory_before) / count, len(list(Path("/proc/self/fd").iterdir())) - files_before
    num_queues = len(comm._job.messages._received) + len(comm._job.messages._sending)
    gc.collect()
    gc.disable()
    make_groups(1)
    is_gone = last[0]() is None
    gc.enable()
    comm.close()
    return grown, files, num_queues, is_gone


def _resident() -> int:
    """KiB of this process, shared memory included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_rank_that_has_left_is_named_at_once(transport: str, results: list[dict[str, Any]]) -> None:
    for rank in (0, 2):
        call, message, seconds = results[rank][f"gone {transport}"]
        assert "but rank 1 has ended its script; was this call made by some ranks only?" in call
        assert "from rank 1, but rank 1 has ended its script without sending it" in message
        assert seconds < 8


def gone(world: Communicator, transport: Any) -> tuple[str, str, float]:
    comm = make(transport)
    comm.barrier()
    if comm.rank == 1:
        comm.send(np.arange(5), destination=0, tag=2)
        comm.close("has ended its script")
        world.barrier()
        return "", "", 0.0
    begin = time.monotonic()
    # Any error of a collective, so that ranks that wait for the whole timeout fail by their text and seconds.
    call = message_of(lambda: comm.all_reduce(np.ones(3)), CollectiveError)
    if comm.rank == 0:
        assert comm.recv(source=1, tag=2).tolist() == [0, 1, 2, 3, 4], "what was sent before arrives"
    message = message_of(lambda: comm.recv(source=1, tag=3), CollectiveError)
    seconds = time.monotonic() - begin
    world.barrier()
    return call, message, seconds


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_memory_is_agreed(transport: str, results: list[dict[str, Any]]) -> None:
    for result in results:
        different, negative, huge = result[f"memory {transport}"]
        assert "rank 0: allocate 64; rank 1: allocate 128; rank 2: allocate 192" in different
        assert "a number of bytes of 0 or more, got -5" in negative
        assert "rank 0" in huge


def memory(world: Communicator, transport: Any) -> tuple[str, str, str]:
    comm = make(transport)
    different = message_of(lambda: comm.allocate(64 * (1 + comm.rank)), CollectiveMismatchError)
    negative = message_of(lambda: comm.allocate(-5), ValueError)
    huge = message_of(lambda: comm.allocate(1 << 55), CollectiveError)
    bucket = comm.allocate(4096).view(np.float32)
    bucket[:] = comm.rank
    assert (comm.all_reduce(bucket, out=bucket) == 3).all()
    comm.close()
    assert bucket[0] == 3, "an array outlives its communicator"
    return different, negative, huge


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_timeout_and_a_retry_give_no_wrong_sum(transport: str, results: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(results):
        texts = result[f"retry {transport}"]
        assert all("broken" in text for text in texts[1:]), texts
        if rank == 2:
            assert "left all_reduce sum f64[40000] by CollectiveError" in "".join(texts)


def wait_for_the_others(world: Communicator) -> None:
    """In rank 2, until the calls of both have ended: on a machine that is busy nobody knows how long that takes."""
    for rank in (0, 1):
        world.recv(source=rank)


def retry(world: Communicator, transport: Any) -> list[str]:
    comm = make(transport)
    comm.barrier()
    comm.timeout = 0.5
    if comm.rank == 2:
        wait_for_the_others(world)
    texts = []
    for number in range(4):
        try:
            total = comm.all_reduce(np.full(40_000, number + 1.0))
            assert (total == 3 * (number + 1)).all(), f"a wrong sum in call {number}"
            texts.append("right")
        except CollectiveError as error:
            texts.append(str(error))
        if number == 0 and comm.rank != 2:
            world.send(np.ones(1), destination=2)
    comm.close()
    world.barrier()
    for call in (lambda: comm.recv(source=0), lambda: comm.send(np.ones(1), destination=0), comm.barrier):
        assert "expected an open communicator, got one that was closed" in message_of(call, CollectiveError)
    return texts


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_messages_of_a_rank_that_broke_off_arrive_and_its_end_is_known(
    transport: str, results: list[dict[str, Any]]
) -> None:
    assert "from rank 1, but rank 1 has" in results[0][f"broken {transport}"]


def broken(world: Communicator, transport: Any) -> str:
    comm = make(transport)
    text = ""
    if comm.rank == 1:

        class Full(np.ndarray):
            def reshape(self, *shape: int) -> np.ndarray:
                raise MemoryError("no room in caf\udcff")

        message_of(lambda: comm.all_reduce(np.ones(3).view(Full)), MemoryError)
        comm.send(np.arange(300_000), destination=0)
        comm.close()
    else:
        assert "rank 1 left all_reduce sum f64[3] by MemoryError: no room" in message_of(
            lambda: comm.all_reduce(np.ones(3)), PeerLostError
        )
        if comm.rank == 0:
            time.sleep(0.2)
            assert comm.recv(source=1)[-1] == 299_999
            text = message_of(lambda: comm.recv(source=1), CollectiveError)
    world.barrier()
    return text


def test_what_a_broken_call_has_left_under_way_outlives_its_communicator(results: list[dict[str, Any]]) -> None:
    """MPI writes into it when the late rank comes, which may be at the end of the process."""
    for result in results[:2]:
        assert result["kept"] == [True]


def kept(world: Communicator) -> list[bool]:
    """Whether what was under way when a call broke off is still there once the communicator is gone."""
    under_way = break_off(world)
    gc.collect()
    world.barrier()
    return [reference() is not None for reference in under_way]


def break_off(world: Communicator) -> list[weakref.ref[Transfer]]:
    """A communicator whose rank 2 is late; what its call has left under way."""
    comm = make("mpi_messages")
    comm.barrier()
    comm.timeout = 0.3
    if comm.rank == 2:
        wait_for_the_others(world)
    message_of(lambda: comm.all_reduce(np.ones(40_000)), CollectiveError)
    under_way = [weakref.ref(transfer) for transfer in comm._transfers._open]  # type: ignore[attr-defined]
    if comm.rank != 2:
        world.send(np.ones(1), destination=2)
    comm.close()
    return under_way


def test_what_mpi_still_uses_is_kept() -> None:
    class Request:
        is_done = False

        def Test(self) -> bool:
            return self.is_done

    transfers, request, array = Transfers(), Request(), np.ones(3)
    references = sys.getrefcount(array)
    transfer = transfers.begin(lambda: request, array)  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyboardInterrupt):
        transfers.begin(_interrupted, array)
    assert sys.getrefcount(array) == references + 2
    assert transfers.collect() == [transfer, transfers.collect()[1]], "who knows whether MPI has begun the second"
    request.is_done = True
    assert len(transfers.collect()) == 1 and sys.getrefcount(array) == references + 2
    del transfer
    assert sys.getrefcount(array) == references + 1
    transfers.keep_for_good()
    del transfers
    assert sys.getrefcount(array) == references + 1, "it outlives its owner"


def _interrupted() -> Any:
    raise KeyboardInterrupt
