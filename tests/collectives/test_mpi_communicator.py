"""MPI worlds beyond the contract: which transport is chosen, ranks that are late or gone, agreement of transports."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.collectives.communicator.contract import Communicator

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]

from run_ranks import run_ranks  # noqa: E402

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def verdicts() -> list[dict[str, Any]]:
    """What every program returned on every rank, all from one mpirun."""
    return run_ranks(__file__, "programs", 3, timeout=120)


def programs(world: Communicator) -> dict[str, Any]:
    results: dict[str, Any] = {"both_transports": both_transports(world), "left_rank": left_rank(world)}
    for transport in ("mpi_shared", "mpi_messages"):
        results[f"late_rank {transport}"] = late_rank(world, transport)
        results[f"messages {transport}"] = messages(world, transport)
    return results


def test_transports_give_the_same_bits(verdicts: list[dict[str, Any]]) -> None:
    results = [verdict["both_transports"] for verdict in verdicts]
    for shared, messages in results:
        assert shared == messages == results[0][0]


def both_transports(world: Communicator) -> list[bytes]:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    assert world.name == "mpi_shared", "ranks of one host see one another's memory"
    assert world.algorithm("all_reduce", 1 << 20) == "shared_slices"
    assert world.algorithm("all_reduce", 100) == "shared_one_shot"
    messages = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport="mpi_messages")
    assert messages.algorithm("all_reduce", 1 << 20) == "messages_slices"
    array = np.random.default_rng(world.rank).normal(size=300_001).astype(np.float32)
    return [comm.all_reduce(array).tobytes() for comm in (world, messages)]


@pytest.mark.parametrize("transport", ["mpi_shared", "mpi_messages"])
def test_a_late_rank_is_an_error_and_not_a_hang(transport: str, verdicts: list[dict[str, Any]]) -> None:
    texts = [verdict[f"late_rank {transport}"] for verdict in verdicts]
    for text in texts[:2]:
        assert "within 0.3 s" in text and "DTRAIN_COLLECTIVE_TIMEOUT" in text
        if transport == "mpi_shared":
            assert "got nothing from rank 2; rank 2 was last in all_gather f64[2]" in text


def late_rank(world: Communicator, transport: Any) -> str:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, timeout=0.3)
    comm.all_gather(np.zeros(2))
    text = ""
    if world.rank != 2:
        with pytest.raises(CollectiveError) as caught:
            comm.all_reduce(np.ones(3))
        text = str(caught.value)
    world.barrier()
    return text


def test_a_rank_that_has_left_is_noticed_at_once(verdicts: list[dict[str, Any]]) -> None:
    for rank in (0, 2):
        text = verdicts[rank]["left_rank"]
        assert text == (
            f"[rank {rank}/3] group 'world', collective 2 (barrier) on rank {rank}: expected every rank of the group, "
            "but rank 1 has closed this communicator; was this call made by some ranks only?"
        )


def left_rank(world: Communicator) -> str:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport="mpi_shared", timeout=20)
    comm.barrier()
    text = ""
    if world.rank == 1:
        comm.close()
    else:
        begin = time.monotonic()
        with pytest.raises(PeerLostError) as caught:
            comm.barrier()
        assert time.monotonic() - begin < 10
        text = str(caught.value)
    world.barrier()
    return text


def test_a_failing_rank_ends_the_job_with_its_traceback() -> None:
    with pytest.raises(AssertionError, match="ended with code") as caught:
        run_ranks(__file__, "failing_rank", 2)
    assert "ValueError: only rank 1 fails" in str(caught.value)


def failing_rank(world: Communicator) -> None:
    if world.rank == 1:
        raise ValueError("only rank 1 fails")
    world.barrier()


@pytest.mark.parametrize("transport", ["mpi_shared", "mpi_messages"])
def test_messages_are_checked(transport: str, verdicts: list[dict[str, Any]]) -> None:
    assert [verdict[f"messages {transport}"] for verdict in verdicts] == ["checked"] * 3


def messages(world: Communicator, transport: Any) -> str:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    comm = make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport=transport, timeout=0.3)
    for tag in (-1, 1 << 20):
        with pytest.raises(ValueError, match=r"a tag in 0\.\.1048575"):
            comm.send(np.zeros(1), destination=0, tag=tag)
    with pytest.raises(CollectiveError, match=r"tag 5 from rank 0 within 0\.3 s, got none"):
        comm.recv(source=0, tag=5)
    world.barrier()
    comm.close()
    return "checked"
