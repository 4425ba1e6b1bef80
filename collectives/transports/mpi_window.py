"""The shared window of MPI ranks of one host, with one arrival flag per rank.

A rank that arrives writes a growing number to its flag and polls the others' (`meeting.py`). That costs less than a
barrier through MPI, and every rank can name the ones it waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from dtrain.collectives.memory.shared_parts import make_shared_parts
from dtrain.collectives.memory.shared_window import (
    FLAG_BYTES,
    FRAME_BYTES,
    NO_FRAME,
    NOTE_BYTES,
    Absence,
    Exchange,
    SharedWindow,
    State,
    region_bytes,
)
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.transports.meeting import ARRIVALS, STATE, Meeting, Outcome, meeting_of
from dtrain.collectives.transports.mpi_start import YIELD_SECONDS, memory_fence

# The word of a rank's flag line behind those of `meeting.py`: whether it has left, broken or not.
_LEFT = 2
_MET, _PENDING = int(Outcome.MET), int(Outcome.PENDING)


class MpiWindow(SharedWindow):
    """Shared memory of a group's ranks; `progress` keeps MPI moving while a rank waits in it."""

    def __init__(self, regions: Sequence[Array], rank: int, progress: Callable[[], Any]) -> None:
        """`regions` as `make_shared_parts` gives them, of `region_bytes` each, in the order of the group's ranks."""
        self.regions = list(regions)
        self.rank = rank
        self.size = len(regions)
        self._progress = progress
        self._fence = memory_fence()
        self._arrivals = 0
        self._is_waiting = False
        self._flags = [memoryview(region.data)[:24].cast("Q") for region in self.regions]
        self._notes = [memoryview(region.data)[FLAG_BYTES:][:NOTE_BYTES] for region in self.regions]
        self._own = self._flags[rank]
        self._meeting: Meeting | None = meeting_of(self.regions, rank, FLAG_BYTES + NOTE_BYTES, FRAME_BYTES)

    @classmethod
    def make(
        cls,
        staging_bytes: int,
        members: Sequence[int],
        rank: int | None,
        exchange: Exchange,
        progress: Callable[[], Any],
    ) -> MpiWindow | None:
        """The window of `members`; None on a rank that only takes part in the exchange. See `make_shared_parts`."""
        nbytes = None if rank is None else region_bytes(staging_bytes)
        regions = make_shared_parts(nbytes, members, exchange)
        return None if rank is None else cls(regions, rank, progress)

    def meet(self, timeout: float, half: int = NO_FRAME) -> bool:
        return self._come(half, timeout) == _MET

    def _come(self, frame: int, timeout: float) -> int:
        meeting = self._meeting
        assert meeting is not None, "nobody meets in a window that was closed"
        self._arrivals += 1
        self._is_waiting = True
        outcome = meeting.meet(self._arrivals, frame)
        if outcome >= _PENDING:
            outcome = self._wait(meeting, outcome, frame, timeout)
        self._is_waiting = False
        return outcome

    def _wait(self, meeting: Meeting, outcome: int, frame: int, timeout: float) -> int:
        """Wait for those who have not come, but raise as soon as one of them will never come."""
        arrived = self._arrivals
        begin = time.monotonic()
        waited = 0.0
        while outcome == _PENDING and waited <= timeout:
            self._progress()
            outcome = meeting.wait(arrived, frame, waited >= YIELD_SECONDS)
            waited = time.monotonic() - begin
        if outcome < _PENDING:
            return outcome
        self._fence()
        late = [rank for rank, flag in enumerate(self._flags) if flag[ARRIVALS] < arrived]
        if not late:  # the last one came just now
            return meeting.wait(arrived, frame, False)
        gone = {rank: self._state_of(rank) for rank in late if self._flags[rank][STATE]}
        raise Absence(late, gone)

    def has_left(self, rank: int) -> str:
        if not self._flags or not self._flags[rank][_LEFT]:
            return ""
        state, text = self._state_of(rank)
        return text if state is State.LEFT else "has left after a call that broke off"

    def _state_of(self, rank: int) -> tuple[State, str]:
        text = bytes(self._notes[rank]).rstrip(b"\0").decode(errors="replace")
        return State(self._flags[rank][STATE]), text

    def leave(self, state: State, text: str) -> None:
        if not self._flags:
            return
        if not self._own[STATE]:
            self._note(state, text)
        if state is State.LEFT:
            self._own[_LEFT] = 1

    def _note(self, state: State, text: str) -> None:
        encoded = text.encode("utf-8", "backslashreplace")[:NOTE_BYTES]
        self._notes[self.rank][: len(encoded)] = encoded
        self._fence()
        self._own[STATE] = state
        if self._is_waiting:
            # As if it had not come to this meeting: who has not seen it there yet looks at the state and raises.
            self._own[ARRIVALS] = self._arrivals - 1
        self._fence()

    def allocate(self, nbytes: int, exchange: Exchange) -> list[Array]:
        return make_shared_parts(nbytes, range(self.size), exchange)

    def close(self) -> None:
        self.regions, self._flags, self._notes, self._meeting = [], [], [], None
