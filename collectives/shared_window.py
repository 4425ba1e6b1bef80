"""Memory that all ranks of a group see: what the shared-memory algorithms need, whoever provides it.

Each rank owns one region and may read, and by agreement write, everyone's:

    region of rank r:  | flag (one line) | frame 0 | frame 1 | staging 0 ......... | staging 1 ......... |

Frames (the signature of a call, and where its arrays lie) alternate from call to call, staging halves from chunk to
chunk. A rank can write to a half again only after it has met everybody in between, that is, after everybody has read
what the half held: two halves are enough, and nothing is ever reset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from dtrain.collectives.rank_order import Array
from dtrain.collectives.signature import SIGNATURE_BYTES

FLAG_BYTES = 64
PLACE_BYTES = 64
FRAME_BYTES = SIGNATURE_BYTES + PLACE_BYTES
HEADER_BYTES = FLAG_BYTES + 2 * FRAME_BYTES + (-(FLAG_BYTES + 2 * FRAME_BYTES) % 64)


def region_bytes(staging_bytes: int) -> int:
    """Bytes of one rank's region with two staging halves of `staging_bytes`, a multiple of 64."""
    assert staging_bytes % 64 == 0
    return HEADER_BYTES + 2 * staging_bytes


class SharedWindow(ABC):
    """One group's shared memory and the point where its ranks meet."""

    rank: int
    size: int
    regions: list[Array]
    """One flat u8 array per rank."""

    @abstractmethod
    def synchronize(self, timeout: float, explain: Callable[[list[int]], str]) -> None:
        """Return once every rank has called this as often as this one; what was written before is then visible.

        Args:
            timeout: seconds to wait at most.
            explain: words the error from the list of ranks that have not come.

        Raises:
            CollectiveError: somebody did not come in time.
            PeerLostError: somebody has left for good.
        """

    @abstractmethod
    def allocate(self, nbytes: int, timeout: float) -> list[Array]:
        """More shared memory (collective): `nbytes` zeros for each rank, 64-byte aligned; the same list everywhere."""

    @abstractmethod
    def close(self) -> None:
        """Give the memory back; nobody touches it afterwards."""
