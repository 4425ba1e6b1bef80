"""Calls about the group more than about arrays: objects, `split`, `allocate`; and how errors name its ranks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.errors import CollectiveError, PeerLostError, expected
from dtrain.collectives.communicator.call_text import call_text_of, rank_list
from dtrain.collectives.communicator.objects import from_bytes, padded, to_bytes
from dtrain.collectives.communicator.ordered_calls import OrderedCalls
from dtrain.collectives.memory.packed import address_of
from dtrain.collectives.memory.shared_window import NoMemory
from dtrain.collectives.programs.rank_order import Array

if TYPE_CHECKING:
    from dtrain.collectives.communicator.contract import Communicator


class GroupCalls(OrderedCalls):
    """A group of ranks that can split, share memory, and be named."""

    world_ranks: tuple[int, ...]

    @property
    @abstractmethod
    def timeout(self) -> float:
        """Seconds that a collective waits for its peers."""

    @abstractmethod
    def _split(self, groups: list[list[int]]) -> Communicator | None:
        """The one of these groups of this group's ranks that this rank is in, or None. All ranks are here."""

    @abstractmethod
    def _allocate(self, call_text: str, nbytes: int) -> Array:
        """Memory for `allocate`, after all ranks have agreed on `call_text`."""

    def _own_of(self, groups: list[list[int]]) -> list[int]:
        """The ranks of this rank's group, or none."""
        return next((ranks for ranks in groups if self.rank in ranks), [])

    def _names(self, ranks: Sequence[int]) -> str:
        """Ranks of this group as ranks of the job."""
        return rank_list(sorted(self.world_ranks[rank] for rank in ranks))

    def _no_message(self, source: int, tag: int, gone: str = "") -> CollectiveError:
        """The error of a `recv` that has waited long enough, or for a rank that is `gone`."""
        sender = self._names([source])
        where = f"recv on {self._names([self.rank])} of group {self.group!r}: expected a message with tag {tag} from"
        if gone:
            return PeerLostError(f"{where} {sender}, but {sender} {gone} without sending it")
        return CollectiveError(
            f"{where} {sender} within {self.timeout:g} s, got none; check destination and tag of the sender"
        )

    def _here(self) -> str:
        """Which call of which rank, for errors."""
        return f"group {self.group!r}, collective {self._begun} ({self._call_text}) on {self._names([self.rank])}"

    # From arguments to calls, for what is no array

    def _all_gather_object_call(self, value: Any) -> Callable[[], list[Any]]:
        data = to_bytes(value)
        self.counters.add("all_gather_object", data.size)
        return lambda: [from_bytes(row) for row in self._gather_bytes(call_text_of("all_gather_object"), data)]

    def _gather_bytes(self, call_text: str, data: Array) -> list[Array]:
        """Every rank's bytes, which may differ in number: how many first, then all of them."""
        lengths = np.empty(self.size, np.int64)
        self._carry("all_gather", call_text, [np.array([data.size], np.int64)], [lengths])
        longest = int(lengths.max())
        everyone = np.empty(self.size * longest, np.uint8)
        self._carry("all_gather", call_text, [padded(data, longest)], [everyone])
        return [row[:length] for row, length in zip(everyone.reshape(self.size, -1), lengths, strict=True)]

    def _tell_all(self, call_text: str, mine: str) -> list[str]:
        """Every rank's words, inside of a call, for what ranks have to tell one another to carry it out."""
        words = np.frombuffer(mine.encode("utf-8", "backslashreplace"), np.uint8)
        return [bytes(row).decode() for row in self._gather_bytes(call_text, words)]

    def _no_memory(self, error: NoMemory, nbytes: int) -> CollectiveError:
        return CollectiveError(
            f"{self._here()}: expected {nbytes} bytes of shared memory on every rank, got {error.reason!r} on "
            f"{self._names([error.rank])}; make /dev/shm larger or the buffers smaller"
        )

    def _broadcast_object_call(self, value: Any, root: int) -> Callable[[], Any]:
        self._check_rank("broadcast_object", "root", root)
        data = to_bytes(value) if self.rank == root else np.empty(0, np.uint8)
        call_text = call_text_of("broadcast_object", root=root)
        self.counters.add("broadcast_object", data.size)

        def call() -> Any:
            length = np.array([data.size], np.int64)
            self._carry("broadcast", call_text, [length], [length], root=root)
            received = data.copy() if self.rank == root else np.empty(int(length[0]), np.uint8)
            self._carry("broadcast", call_text, [received], [received], root=root)
            return value if self.rank == root else from_bytes(received)

        return call

    def _split_call(self, color: int | None, key: int) -> Callable[[], Communicator | None]:
        for name, value in (("color", color), ("key", key)):
            if value is not None and not isinstance(value, (int, np.integer)):
                wanted = "a whole number or None" if name == "color" else "a whole number"
                raise TypeError(expected("split", f"{name} to be {wanted}", repr(value)))
        data = to_bytes((None if color is None else int(color), int(key)))
        self.counters.add("split", data.size)

        def call() -> Communicator | None:
            rows = self._gather_bytes(call_text_of("split"), data)
            everyone: list[tuple[int | None, int]] = [from_bytes(row) for row in rows]
            groups: dict[int, list[tuple[int, int]]] = {}
            for rank, (its_color, its_key) in enumerate(everyone):
                if its_color is not None:
                    groups.setdefault(its_color, []).append((its_key, rank))
            return self._split([[rank for _, rank in sorted(members)] for members in groups.values()])

        return call

    def _allocate_call(self, nbytes: int) -> Callable[[], Array]:
        if not isinstance(nbytes, (int, np.integer)):
            raise TypeError(expected("allocate", "a whole number of bytes", repr(nbytes)))
        if nbytes < 0:
            raise ValueError(expected("allocate", "a number of bytes of 0 or more", str(nbytes)))
        call_text = f"{call_text_of('allocate')} {int(nbytes)}"
        return lambda: self._allocate(call_text, int(nbytes))


def ordinary_memory(nbytes: int) -> Array:
    """Zeros in this process's own memory, 64-byte aligned.

    Raises:
        CollectiveError: there is not as much.
    """
    try:
        storage = np.zeros(nbytes + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:
        raise CollectiveError(
            expected("allocate", f"{nbytes} bytes of memory", str(error), "ask for less, or use more ranks")
        ) from error
    first = -address_of(storage) % ALIGNMENT
    return storage[first : first + nbytes]
