"""Messages and notices between the ranks of an MPI job: one `Messages` per process, for all groups of a world.

Both are single packets with one MPI tag, so that they arrive in the order in which a rank sent them, and are sorted
here by group, sender and tag. Nothing is received that has not come, so a `recv` that gives up leaves nothing
behind. A notice says that a rank takes part in a group no longer.

    packet:  | bytes of the text (u64) | text, padded to a line | body, padded to a line |
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.dtype import as_dtype, from_numpy
from dtrain.base.errors import CollectiveError, expected
from dtrain.collectives.memory.packed import address_of
from dtrain.collectives.memory.shared_window import State
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.transports.mpi_transfers import Transfer, Transfers

if TYPE_CHECKING:
    from mpi4py import MPI

_MPI_TAG = 1
_CARRY_SECONDS = 100e-6

Box = TypeVar("Box")
Address = tuple[str, int, int]  # group key, sender or receiver (rank in the world), tag


@dataclass(slots=True)
class _Received:
    """What has come for one address, and the number of the next message."""

    messages: deque[tuple[int, Array]] = field(default_factory=deque)
    next_number: int = 0


@dataclass(frozen=True, slots=True)
class Departure:
    """A rank's last notice to a group: why it takes part no longer, how many of its calls it has carried out, and how
    many splits of the group's MPI communicator it has begun."""

    state: State
    text: str
    calls: int
    splits: int = 0


@dataclass(slots=True)
class _Sending:
    """The number of the next message, and whether one is half sent."""

    next_number: int = 0
    is_sending: bool = False


class Messages:
    """Sends, receives and sorts. Any thread that waits may move it on."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        """`comm` belongs to this object from now on."""
        from mpi4py import MPI

        self._comm = comm
        # Counts of MPI end at 2 GiB; in lines they end at 128 GiB.
        self._line = MPI.BYTE.Create_contiguous(ALIGNMENT).Commit()
        self._lock = threading.RLock()
        self._received: defaultdict[Address, _Received] = defaultdict(_Received)
        self._sending: defaultdict[Address, _Sending] = defaultdict(_Sending)
        self._arriving: dict[int, deque[Transfer]] = defaultdict(deque)
        self._incoming = Transfers()
        self._outgoing = Transfers()
        self._departures: dict[str, dict[int, Departure]] = {}
        self._left: dict[str, dict[int, str]] = {}
        self._sent = threading.Condition()
        self._carrier: threading.Thread | None = None

    def send(self, key: str, array: Array, destination: int, tag: int) -> None:
        """Send a message to a rank of the world; returns at once, and `array` may be changed then."""
        facts = {"key": key, "tag": tag, "dtype": from_numpy(array.dtype).tag, "shape": array.shape}
        body = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        with self._sent:
            sending = self._sending[key, destination, tag]
            if sending.is_sending:
                raise CollectiveError(
                    expected(
                        "send",
                        f"messages with tag {tag} to rank {destination} to have been sent whole",
                        "one that an exception interrupted, so that nobody knows whether it was sent",
                        "use another tag",
                    )
                )
            sending.is_sending = True
            number, sending.next_number = sending.next_number, sending.next_number + 1
            self._send_packet(facts | {"number": number}, body, destination)
            sending.is_sending = False

    def notify(self, key: str, ranks: list[int], departure: Departure) -> None:
        """Tell ranks of the world that this rank takes part in a group no longer."""
        facts = {"key": key} | asdict(departure) | {"state": int(departure.state)}
        for rank in ranks:
            self._send_packet(facts, np.empty(0, np.uint8), rank)

    def poll(self) -> None:
        """Take in what has come and sort it. Returns at once; harmless from any thread."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            while self._take_in():
                pass
            for source, arriving in list(self._arriving.items()):
                while arriving and arriving[0].is_done():
                    self._sort(source, arriving[0].arrays[0])
                    self._incoming.end(arriving.popleft())
        finally:
            self._lock.release()

    def take(self, key: str, source: int, tag: int) -> Array | None:
        """The next message of an address, or None while it has not come.

        Raises:
            CollectiveError: a message before it is missing.
        """
        self.poll()
        with self._lock:
            received = self._received[key, source, tag]
            if not received.messages:
                return None
            number, array = received.messages.popleft()
            wanted, received.next_number = received.next_number, number + 1
        if number != wanted:
            raise CollectiveError(
                expected(
                    f"recv with tag {tag} from rank {source}",
                    f"message {wanted} of this tag",
                    f"message {number}",
                    "an exception has interrupted the rank that sent them or this one",
                )
            )
        return array

    def departures(self, key: str) -> dict[int, Departure]:
        """Ranks of the world that take part in the group no longer, each with its first notice."""
        return self._departures.get(key, {})

    def has_left(self, key: str, rank: int) -> str:
        """Why a rank of the world will send nothing more to this group, or nothing."""
        return self._left.get(key, {}).get(rank, "")

    def forget(self, key: str) -> None:
        """This rank takes part in the group no longer."""
        with self._lock, self._sent:
            self._received = _without(self._received, key)
            self._sending = _without(self._sending, key)
            self._departures.pop(key, None)
            self._left.pop(key, None)

    def unsent(self, key: str) -> set[int]:
        """Ranks of the world to which messages or notices of the group are still under way; moves them on."""
        self.poll()
        with self._sent:
            return {destination for group, destination in map(_label, self._outgoing.collect()) if group == key}

    def keep_for_good(self) -> None:
        """MPI may still be busy when Python ends."""
        self._outgoing.keep_for_good()
        self._incoming.keep_for_good()

    def _send_packet(self, facts: dict[str, Any], body: Array, destination: int) -> None:
        packet = _packet(facts, body)
        with self._sent:
            self._outgoing.begin(
                lambda: self._comm.Isend([packet, packet.size // ALIGNMENT, self._line], destination, _MPI_TAG),
                packet,
                label=(facts["key"], destination),
            )
            if self._outgoing.collect() and self._carrier is None:
                self._carrier = threading.Thread(target=self._carry, name="messages", daemon=True)
                self._carrier.start()
            self._sent.notify()

    def _carry(self) -> None:
        """Keep MPI moving while messages are under way: it moves bytes only inside of its calls."""
        while True:
            with self._sent:
                while not self._outgoing.collect():
                    self._sent.wait()
            time.sleep(_CARRY_SECONDS)

    def _take_in(self) -> bool:
        """Begin to receive one packet, if one has come."""
        from mpi4py import MPI

        status = MPI.Status()
        matched = self._comm.Improbe(MPI.ANY_SOURCE, _MPI_TAG, status)
        if matched is None:
            return False
        lines = status.Get_count(self._line)
        buffer = _aligned(lines * ALIGNMENT)
        transfer = self._incoming.begin(lambda: matched.Irecv([buffer, lines, self._line]), buffer)
        self._arriving[status.Get_source()].append(transfer)
        return True

    def _sort(self, source: int, packet: Array) -> None:
        facts, body = _open_packet(packet)
        if "state" in facts:
            departure = Departure(State(facts["state"]), facts["text"], facts["calls"], facts["splits"])
            self._departures.setdefault(facts["key"], {}).setdefault(source, departure)
            if departure.state is State.LEFT:
                self._left.setdefault(facts["key"], {}).setdefault(source, departure.text)
            return
        dtype, shape = as_dtype(facts["dtype"]).numpy, tuple(facts["shape"])
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        array = body[:nbytes].view(dtype).reshape(shape)
        self._received[facts["key"], source, facts["tag"]].messages.append((facts["number"], array))


def _packet(facts: dict[str, Any], body: Array) -> Array:
    text = json.dumps(facts).encode()
    begin = _lines(8 + len(text))
    packet = _aligned(begin + _lines(body.size))
    packet[:8].view(np.uint64)[0] = len(text)
    packet[8 : 8 + len(text)] = np.frombuffer(text, np.uint8)
    packet[begin : begin + body.size] = body
    return packet


def _open_packet(packet: Array) -> tuple[dict[str, Any], Array]:
    end = 8 + int(packet[:8].view(np.uint64)[0])
    return json.loads(packet[8:end].tobytes()), packet[_lines(end) :]


def _without(boxes: defaultdict[Address, Box], key: str) -> defaultdict[Address, Box]:
    return defaultdict(boxes.default_factory, {address: box for address, box in boxes.items() if address[0] != key})


def _label(transfer: Transfer) -> tuple[str, int]:
    assert transfer.label is not None
    return transfer.label


def _lines(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _aligned(nbytes: int) -> Array:
    storage = np.empty(nbytes + ALIGNMENT, np.uint8)
    first = -address_of(storage) % ALIGNMENT
    return storage[first : first + nbytes]
