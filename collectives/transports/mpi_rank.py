"""What MPI ranks share, whatever moves collectives: messages, groups, notices of who is gone, the end of the job."""

from __future__ import annotations

import threading
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dtrain.base.dtype import DType
from dtrain.base.errors import PeerLostError
from dtrain.collectives.communicator.absence import late_error
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.work import ClosedError, Work
from dtrain.collectives.memory.shared_window import NoMemory
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.mpi_messages import Messages
from dtrain.collectives.transports.mpi_start import wait_until
from dtrain.collectives.transports.mpi_window import MpiWindow

if TYPE_CHECKING:
    from mpi4py import MPI

# Seconds in which messages of a rank that has left may still come out of shared memory.
LAST_MESSAGES_SECONDS = 0.2
# Seconds that a communicator waits for its messages to be on their way where its order is lost.
BROKEN_FLUSH_SECONDS = 0.5

_LEAST_TAGS = 32768  # that every MPI has


@dataclass(frozen=True)
class MpiJob:
    """What all groups of one world share."""

    comm: MPI.Intracomm
    messages: Messages
    hosts: tuple[int, ...]  # of each rank of the world; ranks of one host have the same number
    forced: tuple[str, str] | None  # the transport of all groups, and why; else each group's ranks are looked at
    staging_bytes: int
    connect: Callable[[Membership, Sequence[Membership]], Communicator | None]  # of the table of transports


def job_of(group: Membership) -> MpiJob:
    """The job of a group of MPI ranks."""
    assert group.job is not None, "only asked where there is MPI to stand on"
    return group.job


class MpiRank(Communicator):
    """What both ways share: messages, groups and the end of the job."""

    def __init__(
        self, job: MpiJob, key: str, rank: int, size: int, world_ranks: Sequence[int] | None, timeout: float | None
    ) -> None:
        """`key` names the group where messages are sorted: alike on all members, and unlike other open groups'."""
        super().__init__(rank, size, world_ranks, timeout)
        self._job = job
        self._key = key
        self._num_splits = 0

    def abort(self, code: int = 1) -> None:
        self._job.comm.Abort(code)

    def _send(self, array: Array, destination: int, tag: int) -> None:
        with self._mpi_errors():
            self._job.messages.send(self._key, array, self.world_ranks[destination], tag)

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array:
        message: Array | None = None

        def has_come() -> bool:
            nonlocal message
            message = self._job.messages.take(self._key, self.world_ranks[source], tag)
            return message is not None

        with self._mpi_errors():
            wait_until(lambda: has_come() or self._is_closing or bool(self._left(source)), self.timeout)
            gone = "" if message is not None else self._left(source)
            if gone:
                wait_until(has_come, LAST_MESSAGES_SECONDS)
        if message is not None:
            return message
        if self._is_closing:
            raise ClosedError(f"recv of group {self.group!r}: the communicator was closed while it waited")
        raise self._no_message(source, tag, gone)

    @abstractmethod
    def _left(self, rank: int) -> str:
        """Why no message of this rank will come, or nothing."""

    def _flush(self) -> None:
        """Wait until this group's messages are on their way to everybody who may still want them."""

        def is_over() -> bool:
            return not any(
                not self._left(self.world_ranks.index(rank)) for rank in self._job.messages.unsent(self._key)
            )

        wait_until(is_over, BROKEN_FLUSH_SECONDS if self.is_broken else self.timeout)

    def _split(self, groups: list[list[int]]) -> Communicator | None:
        self._num_splits += 1
        key = f"{self._key}.{self._num_splits}"

        def membership(ranks: list[int]) -> Membership:
            hosts = [self._job.hosts[self.world_ranks[rank]] for rank in ranks]
            return Membership(ranks, hosts, self.timeout, self._job, self, key)

        return self._job.connect(membership(self._own_of(groups)), [membership(ranks) for ranks in groups])

    def _make_window(self, members: list[int]) -> MpiWindow | None:
        """The window of this rank's group; every rank of this communicator has to come here."""
        rank = members.index(self.rank) if members else None
        staging_bytes, progress = self._job.staging_bytes, self._job.messages.poll
        try:
            return MpiWindow.make(
                staging_bytes, members, rank, lambda offer: self._tell_all("split, its memory", offer), progress
            )
        except NoMemory as error:
            raise self._agreed(self._no_memory(error, staging_bytes)) from None

    def _split_comm(self, members: list[int]) -> MPI.Intracomm | None:
        """What MPI has for these ranks of this group; None on a rank that is none of them.

        This group may have none itself, so the members make theirs from the world's. MPI does not do that without
        waiting: a thread waits, and the caller keeps to its time.
        """
        if not members:
            return None
        own = self._job.comm.group.Incl([self.world_ranks[rank] for rank in members])
        tag = zlib.crc32(f"{self._key}.{self._num_splits}".encode()) % _LEAST_TAGS
        work: Work[MPI.Intracomm] = Work(lambda: self._job.comm.Create_group(own, tag))
        threading.Thread(target=work.carry_out, name="split", daemon=True).start()
        if not wait_until(work.is_completed, self.timeout, self._job.messages.poll):
            raise late_error(self._here(), [], {}, self.timeout, self._names)
        with self._mpi_errors():
            return work.wait()

    @contextmanager
    def _mpi_errors(self) -> Iterator[None]:
        """Raise MPI's errors as ours."""
        from mpi4py import MPI

        try:
            yield
        except MPI.Exception as error:
            raise PeerLostError(
                f"{self._here()}: expected every rank to answer, got MPI error {error.Get_error_string()!r}; "
                "look at what the other ranks printed last"
            ) from error
