"""A shared window from MPI: memory that all ranks of one host map, with one arrival flag per rank.

A rank that arrives writes a growing number to its flag and polls the others'. That costs less than a barrier through
MPI, and every rank can name the ones it waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.collectives.mpi_start import wait_until
from dtrain.collectives.packed import address_of
from dtrain.collectives.rank_order import Array
from dtrain.collectives.shared_window import HEADER_BYTES, SharedWindow, region_bytes
from dtrain.collectives.signature import rank_list

if TYPE_CHECKING:
    from mpi4py import MPI

# Words of a rank's flag line: how often it has arrived, and whether it will never come again.
_ARRIVALS, _LEFT = 0, 1


class MpiWindow(SharedWindow):
    """The shared memory of a communicator whose ranks are all on one host."""

    def __init__(self, comm: MPI.Intracomm, staging_bytes: int) -> None:
        """Collective over `comm`, which the window uses for itself."""
        self.rank = comm.Get_rank()
        self.size = comm.Get_size()
        self._comm = comm
        self._windows: list[MPI.Win] = []
        self._arrivals = 0
        self.regions = self._allocate(region_bytes(staging_bytes), HEADER_BYTES)
        self._flags = [memoryview(region.data)[:16].cast("Q") for region in self.regions]
        self._others = [flag for rank, flag in enumerate(self._flags) if rank != self.rank]

    def synchronize(self, timeout: float, explain: Callable[[list[int]], str]) -> None:
        self._arrivals += 1
        arrived = self._arrivals
        window = self._windows[0]
        window.Sync()  # a full memory barrier: data before flag
        self._flags[self.rank][_ARRIVALS] = arrived
        for flag in self._others:
            if flag[_ARRIVALS] < arrived:
                self._wait(flag, arrived, timeout, explain)
        window.Sync()

    def _wait(self, flag: memoryview, arrived: int, timeout: float, explain: Callable[[list[int]], str]) -> None:
        came = wait_until(lambda: flag[_ARRIVALS] >= arrived or flag[_LEFT] > 0, timeout, self._comm.Iprobe)
        if flag[_ARRIVALS] >= arrived:
            return
        late = [rank for rank, other in enumerate(self._flags) if other[_ARRIVALS] < arrived]
        if not came:
            raise CollectiveError(explain(late))
        left = [rank for rank in late if self._flags[rank][_LEFT]]
        raise PeerLostError(f"{rank_list(left)} left the job; {explain(late)}")

    def allocate(self, nbytes: int, timeout: float) -> list[Array]:
        return self._allocate(nbytes, nbytes)

    def close(self) -> None:
        """Say that this rank will not come again. The memory goes with the process: freeing it would be collective."""
        self._windows[0].Sync()
        self._flags[self.rank][_LEFT] = 1

    def _allocate(self, nbytes: int, zeroed: int) -> list[Array]:
        from mpi4py import MPI

        info = MPI.Info.Create({"alloc_shared_noncontig": "true"})
        try:
            window = MPI.Win.Allocate_shared(nbytes + 64, 1, info, self._comm)
        except MPI.Exception as error:
            raise CollectiveError(
                f"shared window of {self.size} ranks: expected {nbytes} bytes of shared memory per rank, got "
                f"{error.Get_error_string()}; make /dev/shm larger or the buffers smaller"
            ) from error
        window.Lock_all(MPI.MODE_NOCHECK)
        self._windows.append(window)
        regions = [self._region(window, rank, nbytes) for rank in range(self.size)]
        regions[self.rank][:zeroed] = 0
        window.Sync()
        self._comm.Barrier()
        window.Sync()
        return regions

    @staticmethod
    def _region(window: MPI.Win, rank: int, nbytes: int) -> Array:
        """One rank's part, from its first 64-byte line on; pages are aligned alike in all processes."""
        buffer: Any = window.Shared_query(rank)[0]
        memory: Array = np.frombuffer(buffer, np.uint8)
        first = -address_of(memory) % 64
        return memory[first : first + nbytes]
