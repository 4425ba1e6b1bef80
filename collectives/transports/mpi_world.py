"""The world of MPI ranks: the table of transports is asked for it, and again by every `split`, group by group."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.shared_window import NoMemory
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.mpi_messages import Messages
from dtrain.collectives.transports.mpi_rank import MpiJob
from dtrain.collectives.transports.shared_communicator import DEFAULT_STAGING_BYTES
from dtrain.collectives.transports.table import connect

if TYPE_CHECKING:
    from mpi4py import MPI

AUTO = "auto"


def make_mpi_communicator(
    comm: MPI.Intracomm,
    *,
    transport: str = AUTO,
    staging_bytes: int = DEFAULT_STAGING_BYTES,
    timeout: float | None = None,
) -> Communicator:
    """A world over `comm`, which it owns from now on (collective).

    Args:
        comm: an MPI communicator; duplicate it first if anybody else uses it.
        transport: a name in the table of transports, for tests and benchmarks; "auto" looks where the ranks are.
        staging_bytes: chunk size in shared memory.
        timeout: seconds that a collective waits.

    Raises:
        CollectiveError: on every rank, if shared memory was asked for and one of them has none.
    """
    forced = None if transport == AUTO else (transport, "asked for")
    staging_bytes = max(staging_bytes, 64 * comm.size)
    job = MpiJob(comm, Messages(comm.Dup()), _hosts(comm), forced, staging_bytes, connect)
    group = Membership(range(comm.size), job.hosts, timeout, job)
    try:
        world = connect(group)
    except NoMemory as error:
        trouble = f"rank {error.rank} has no shared memory for the others ({error.reason})"
        if forced is not None:
            raise CollectiveError(f"make_mpi_communicator: expected shared memory, but {trouble}") from None
        if comm.rank == 0:
            warnings.warn(f"{trouble}: ranks of one host send messages, which is slower", stacklevel=2)
        world = connect(replace(group, job=replace(job, forced=("mpi_messages", trouble))))
    assert world is not None, "every rank is in the world"
    return world


def _hosts(comm: MPI.Intracomm) -> tuple[int, ...]:
    """For each rank the lowest rank of its host."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    lowest = node.allreduce(comm.rank, MPI.MIN)
    node.Free()
    return tuple(comm.allgather(lowest))
