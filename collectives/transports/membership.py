"""A group of ranks before it has a communicator: what transports are chosen by, and made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dtrain.collectives.communicator.contract import Communicator

if TYPE_CHECKING:
    from dtrain.collectives.transports.mpi_rank import MpiJob, MpiRank

Ground = Literal["process", "mpi", "communicator"]


@dataclass(frozen=True)
class Membership:
    """This rank's place in a group that is to talk.

    Attributes:
        ranks: the members, in what the group comes of; none where this rank only takes part in making others' groups.
        hosts: the number of each member's host.
        timeout: seconds that a collective waits; None for the default.
        job: what MPI ranks share, where MPI was started.
        came_of: the group of MPI ranks that splits; None for the world.
        key: the group's name where messages are sorted.
        beside: a communicator of the same ranks, for arrays in another place or of another kind.
        device: where that is a GPU, its index.
    """

    ranks: Sequence[int] = (0,)
    hosts: Sequence[int] = (0,)
    timeout: float | None = None
    job: MpiJob | None = None
    came_of: MpiRank | None = None
    key: str = "world"
    beside: Communicator | None = None
    device: int | None = None

    @property
    def ground(self) -> Ground:
        """What there is to stand on."""
        if self.beside is not None:
            return "communicator"
        return "process" if self.job is None else "mpi"

    @property
    def world_ranks(self) -> list[int] | None:
        """The members as ranks of the world; None for the world itself."""
        return None if self.came_of is None else [self.came_of.world_ranks[rank] for rank in self.ranks]

    def of_nobody(self) -> Membership:
        """What a rank shows that makes a group with others and is not in it."""
        return replace(self, ranks=(), hosts=())
