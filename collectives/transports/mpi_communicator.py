"""MPI ranks of one host: collectives go through shared memory, and messages through MPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.mpi_rank import MpiJob, MpiRank, job_of
from dtrain.collectives.transports.mpi_window import MpiWindow
from dtrain.collectives.transports.shared_communicator import SharedCommunicator

if TYPE_CHECKING:
    pass


class MpiSharedCommunicator(MpiRank, SharedCommunicator):
    """MPI ranks of one host: MPI carries messages; collectives do not go through it."""

    name = "mpi_shared"

    def __init__(
        self, job: MpiJob, key: str, window: MpiWindow, world_ranks: Sequence[int] | None, timeout: float | None
    ) -> None:
        SharedCommunicator.__init__(self, window, world_ranks, staging_bytes=job.staging_bytes, timeout=timeout)
        self._job, self._key, self._num_splits = job, key, 0

    @classmethod
    def detect(cls, group: Membership) -> str:
        if len(set(group.hosts)) != 1:
            return ""
        return (
            "its rank is alone on its host" if len(group.ranks) == 1 else f"its {len(group.ranks)} ranks share a host"
        )

    @classmethod
    def join(cls, group: Membership) -> MpiSharedCommunicator | None:
        job, parent = job_of(group), group.came_of
        if parent is None:
            everybody = range(job.comm.size)
            window = MpiWindow.make(job.staging_bytes, everybody, job.comm.rank, job.comm.allgather, job.messages.poll)
        else:
            window = parent._make_window(list(group.ranks))
        return None if window is None else cls(job, group.key, window, group.world_ranks, group.timeout)

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
