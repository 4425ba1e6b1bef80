"""Memory that all ranks of a group see: what the shared-memory algorithms need, whoever provides it.

Each rank owns one region and may read, and by agreement write, everyone's:

    region of rank r:  | flag | note | frame 0 | frame 1 | staging 0 ......... | staging 1 ......... |

The flag (one line) counts the rank's arrivals and says when it takes part no longer; the note then says why.

Frames (the text of a call, and where its arrays lie) alternate from call to call, staging halves from chunk to
chunk. A rank can write to a half again only after it has met everybody in between, that is, after everybody has read
what the half held: two halves are enough, and nothing is ever reset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import IntEnum

from dtrain.collectives.communicator.call_text import CALL_TEXT_BYTES
from dtrain.collectives.programs.rank_order import Array

Exchange = Callable[[str], list[str]]

FLAG_BYTES = 64
NOTE_BYTES = 512
PLACE_BYTES = 64
FRAME_BYTES = CALL_TEXT_BYTES + PLACE_BYTES
NO_FRAME = -1  # where frames are numbered
HEADER_BYTES = FLAG_BYTES + NOTE_BYTES + 2 * FRAME_BYTES
assert HEADER_BYTES % 64 == 0


def region_bytes(staging_bytes: int) -> int:
    """Bytes of one rank's region with two staging halves of `staging_bytes`, a multiple of 64."""
    assert staging_bytes % 64 == 0
    return HEADER_BYTES + 2 * staging_bytes


class State(IntEnum):
    """Whether a rank takes part in the meetings of a group, and why not."""

    HERE = 0
    LEFT = 1  # it closed its communicator, or its script ended
    BROKEN = 2  # a call of it ended half-way
    FOLLOWED = 3  # a call of it could not go on because of others; its words are theirs


class Absence(Exception):
    """A meeting that does not come about.

    Attributes:
        late: ranks of the group that have not come.
        gone: those who will never come, with their state and their words.
    """

    def __init__(self, late: list[int], gone: Mapping[int, tuple[State, str]]) -> None:
        super().__init__(late, gone)
        self.late = late
        self.gone = dict(gone)


class NoMemory(Exception):
    """A rank could not make or reach shared memory; every rank of the exchange raises it alike.

    Attributes:
        rank: the first one in trouble, by its place in the exchange.
        reason: what the system said.
    """

    def __init__(self, rank: int, reason: str) -> None:
        super().__init__(rank, reason)
        self.rank = rank
        self.reason = reason


class SharedWindow(ABC):
    """One group's shared memory and the point where its ranks meet."""

    rank: int
    size: int
    regions: list[Array]
    """One flat u8 array per rank."""

    @abstractmethod
    def meet(self, timeout: float, half: int = NO_FRAME) -> bool:
        """Return once every rank has called this as often as this one; what it wrote before is then visible.

        Args:
            timeout: seconds to wait at most.
            half: the frames to compare, or none.

        Returns:
            Whether those frames begin with the same digest on all ranks; True where none are compared.

        Raises:
            Absence: somebody did not come in time, or will never come.
        """

    @abstractmethod
    def has_left(self, rank: int) -> str:
        """Why a rank will send nothing more, as in "has ended its script", or nothing."""

    @abstractmethod
    def leave(self, state: State, text: str) -> None:
        """Tell the others that this rank takes part no longer, as in "has ended its script".

        The first time is what they read at meetings, as it is the cause of all that follows.
        """

    @abstractmethod
    def allocate(self, nbytes: int, exchange: Exchange) -> list[Array]:
        """More shared memory (collective): `nbytes` zeros for each rank, 64-byte aligned; the same list everywhere.

        Args:
            nbytes: the same on every rank.
            exchange: gives every rank's text to every rank, in rank order.

        Raises:
            NoMemory: on every rank, if one of them could not get its part.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the memory back; this rank touches it no longer."""
