"""MPI ranks: through shared memory where all of them are on one host, by messages otherwise.

`make_mpi_communicator` chooses, and so does `split`, group by group.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.shared_window import NoMemory
from dtrain.collectives.transports.message_communicator import MpiMessageCommunicator
from dtrain.collectives.transports.mpi_messages import Messages
from dtrain.collectives.transports.mpi_rank import MpiJob, MpiRank, Transport
from dtrain.collectives.transports.mpi_window import MpiWindow
from dtrain.collectives.transports.shared_communicator import DEFAULT_STAGING_BYTES, SharedCommunicator

if TYPE_CHECKING:
    from mpi4py import MPI


class MpiSharedCommunicator(MpiRank, SharedCommunicator):
    """MPI ranks of one host: MPI carries messages; collectives do not go through it."""

    name = "mpi_shared"

    def __init__(
        self, job: MpiJob, key: str, window: MpiWindow, world_ranks: Sequence[int] | None, timeout: float | None
    ) -> None:
        SharedCommunicator.__init__(self, window, world_ranks, staging_bytes=job.staging_bytes, timeout=timeout)
        self._job, self._key, self._num_splits = job, key, 0

    def close(self, reason: str = "has closed this communicator") -> None:
        if self.is_inherited:
            return
        if not self._is_closing:
            self._flush()
        try:
            super().close(reason)
        finally:
            self._job.messages.forget(self._key)

    def _left(self, rank: int) -> str:
        return self._window.has_left(rank)


def make_mpi_communicator(
    comm: MPI.Intracomm,
    *,
    transport: Transport = "auto",
    staging_bytes: int = DEFAULT_STAGING_BYTES,
    timeout: float | None = None,
) -> Communicator:
    """A world over `comm`, which it owns from now on (collective).

    Args:
        comm: an MPI communicator; duplicate it first if anybody else uses it.
        transport: "shared" and "messages" are for tests and benchmarks; "auto" looks where the ranks are.
        staging_bytes: chunk size in shared memory.
        timeout: seconds that a collective waits.

    Raises:
        CollectiveError: on every rank, if shared memory was asked for and one of them has none.
    """
    messages, hosts = Messages(comm.Dup()), _hosts(comm)
    staging_bytes = max(staging_bytes, 64 * comm.size)
    job = MpiJob(comm, messages, hosts, transport, staging_bytes, MpiSharedCommunicator, MpiMessageCommunicator)
    everybody = range(comm.size)
    if job.is_shared(everybody):
        try:
            window = MpiWindow.make(staging_bytes, everybody, comm.rank, comm.allgather, messages.poll)
            assert window is not None
            return MpiSharedCommunicator(job, "world", window, None, timeout)
        except NoMemory as error:
            trouble = f"rank {error.rank} has no shared memory for the others ({error.reason})"
            if transport == "shared":
                raise CollectiveError(f"make_mpi_communicator: expected shared memory, but {trouble}") from None
            if comm.rank == 0:
                warnings.warn(f"{trouble}: ranks of one host send messages, which is slower", stacklevel=2)
            job = replace(job, transport="messages")
    return MpiMessageCommunicator(job, "world", comm, None, timeout)


def _hosts(comm: MPI.Intracomm) -> tuple[int, ...]:
    """For each rank the lowest rank of its host."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    lowest = node.allreduce(comm.rank, MPI.MIN)
    node.Free()
    return tuple(comm.allgather(lowest))
