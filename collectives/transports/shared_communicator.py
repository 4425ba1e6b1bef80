"""Collectives in shared memory: the programs of `shared_memory`, carried out in a window.

Which program a call takes, the meetings at which ranks compare their calls, and memory in which nothing needs to be
copied: whether arrays lie there is known only when all ranks have met.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.absence import gone_error, late_error
from dtrain.collectives.communicator.call_text import CALL_TEXT_BYTES, call_text_in, mismatch
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.packed import Packed, address_of
from dtrain.collectives.memory.shared_window import (
    FLAG_BYTES,
    FRAME_BYTES,
    HEADER_BYTES,
    NO_FRAME,
    NOTE_BYTES,
    Absence,
    NoMemory,
    SharedWindow,
    State,
)
from dtrain.collectives.programs import shared_memory
from dtrain.collectives.programs.bound import BoundProgram, CollectiveCall, Kept, bind
from dtrain.collectives.programs.program import Program
from dtrain.collectives.programs.rank_order import Array, ReduceOp, Reduction, reduce_in_rank_order
from dtrain.collectives.programs.weighing import SHOWN_BYTES, Weighted
from dtrain.collectives.transports.shared_steps import Meetings, bind_in_place, binder

# Bytes that a rank reads at most where every rank reduces everything. That saves the second meeting, which costs more
# up to here; docs/performance.md has the measurement.
ONE_SHOT_READ_BYTES = 512 * 1024
DEFAULT_STAGING_BYTES = 1 << 20

# Segment and offset of the input and of the output, -1 where an array lies outside of the window.
_PLACE = struct.Struct("<4q")
_NOWHERE = _PLACE.pack(-1, 0, -1, 0)
# Behind the places in a frame: the rank's weight.
_WEIGHT = slice(CALL_TEXT_BYTES + _PLACE.size, CALL_TEXT_BYTES + _PLACE.size + SHOWN_BYTES)


class SharedCommunicator(Communicator):
    """A group whose ranks see one another's memory."""

    def __init__(
        self,
        window: SharedWindow,
        world_ranks: Sequence[int] | None,
        *,
        staging_bytes: int,
        timeout: float | None = None,
    ) -> None:
        super().__init__(window.rank, window.size, world_ranks, timeout)
        self._window = window
        self._staging_bytes = staging_bytes
        self._one_shot_bytes = min(ONE_SHOT_READ_BYTES // window.size, staging_bytes)
        self._calls = 0
        self._chunks = 0
        self._segments: list[list[Array]] = []
        self._own_segments: list[tuple[int, int]] = []  # address and bytes of this rank's parts
        self._frames = [
            [
                memoryview(region.data)[FLAG_BYTES + NOTE_BYTES + half * FRAME_BYTES :][:FRAME_BYTES]
                for region in window.regions
            ]
            for half in (0, 1)
        ]
        self._own_frames = [b"", b""]
        self._staging = [
            [region[HEADER_BYTES + half * staging_bytes :][:staging_bytes] for region in window.regions]
            for half in (0, 1)
        ]
        self._bound: Kept[BoundProgram] = Kept()
        self._bound_in_place: Kept[list[tuple[list[Array], list[Array]]]] = Kept()
        self._meetings: Meetings = {"call": self._begin, "chunk": self._begin_chunk, "end": self._end_chunk}

    def close(self, reason: str = "has closed this communicator") -> None:
        if self.is_inherited:
            return
        try:
            super().close(reason)
        finally:
            self._window.leave(State.LEFT, reason)
            self._forget_memory()
            self._window.close()

    def _forget_memory(self) -> None:
        """Let go of every view, so that the window can give its memory back."""
        self._frames, self._staging = [], []
        self._segments, self._own_segments = [], []
        self._bound.clear()
        self._bound_in_place.clear()
        self._meetings.clear()  # methods of this object, which would keep it until cycles are looked for

    def _tell_broken(self, state: State, text: str) -> None:
        self._window.leave(state, text)

    # Programs: bound once for each shape of a call, and carried out chunk by chunk

    def _carry(
        self,
        kind: str,
        call_text: str,
        sources: list[Array],
        outs: list[Array],
        op: ReduceOp | Weighted | None = None,
        root: int = 0,
    ) -> None:
        call, dtype = CollectiveCall(call_text, Packed(sources), Packed(outs), op), sources[0].dtype
        nbytes = call.source.nbytes
        if call.weighted is not None:
            self._show_weight(call.weighted)
        key = kind, nbytes, dtype, root
        bound = self._bound.get(key) or self._bind(key)
        if not self._segments or kind != "all_reduce" or nbytes <= self._one_shot_bytes:
            self._run(bound, call)
        elif not self._meet_in_window(call, dtype):
            self._run(bound, call, is_behind_call=True)

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        return shared_memory.program_of(
            kind,
            self.rank,
            self.size,
            nbytes,
            stage_bytes=self._staging_bytes,
            one_shot_bytes=self._one_shot_bytes,
            root=root,
        )

    def _show_weight(self, weighted: Weighted) -> None:
        """Put this rank's weight into the frame of the meeting to come."""
        self._frames[(self._calls + 1) % 2][self.rank][_WEIGHT] = weighted.shown()

    def _settled(self, weighted: Weighted) -> Reduction:
        """The reduction, now that all ranks have shown their weights."""
        return weighted.coefficients([bytes(frame[_WEIGHT]) for frame in self._frames[self._calls % 2]])

    def _bind(self, key: tuple[str, int, np.dtype[Any], int]) -> BoundProgram:
        """The program of a kind of call with as many bytes, bound."""
        kind, nbytes, dtype, root = key
        program = self._program(kind, nbytes, root)
        return self._bound.keep(key, bind(program, binder(self._staging, dtype, self._meetings)))

    def _run(self, bound: BoundProgram, call: CollectiveCall, *, is_behind_call: bool = False) -> None:
        for halves, starts in bound.parts:
            for start in starts:
                if is_behind_call:
                    is_behind_call, steps = False, halves[self._half()][bound.behind_call :]
                else:
                    steps = halves[(self._chunks + 1) % 2]
                for step in steps:
                    step(call, start)

    def _begin(self, call: CollectiveCall, start: int = 0, *, places: bytes = _NOWHERE) -> None:
        """The first meeting of a call: after it the reduction is known."""
        self._begin_collective(call.call_text, places)
        if call.weighted is not None:
            call.op = self._settled(call.weighted)

    def _begin_chunk(self, call: CollectiveCall, start: int) -> None:
        if self._lanes:
            self._give_way()
        self._meet()
        self._chunks += 1

    def _end_chunk(self, call: CollectiveCall, start: int) -> None:
        self._meet()

    def _barrier(self, call_text: str) -> None:
        self._begin_collective(call_text)

    # Memory in which nothing needs to be copied

    def _meet_in_window(self, call: CollectiveCall, dtype: np.dtype[Any]) -> bool:
        """Reduce where the arrays lie, if all ranks' arrays lie in the window; otherwise stage the first chunk."""
        places = self._places(call.source, call.out)
        if places is None:
            self._stage(call.source, self._next_half())
        self._begin(call, places=places or _NOWHERE)
        shown = self._shown_places()
        if all(shown):
            for parts, targets in self._in_place(tuple(shown), call.source, dtype):
                reduce_in_rank_order(parts, call.op, *targets)
            self._meet()
            return True
        if any(shown):  # those who have staged nothing do it now, and all meet once more
            if places is not None:
                self._stage(call.source, self._half())
            self._meet()
        return False

    def _stage(self, source: Packed, half: int) -> None:
        """Copy the first chunk into this rank's staging."""
        nbytes = min(self._staging_bytes, source.nbytes)
        source.read(0, self._staging[half][self.rank][:nbytes])

    def _in_place(
        self, places: tuple[bytes, ...], source: Packed, dtype: np.dtype[Any]
    ) -> list[tuple[list[Array], list[Array]]]:
        """Parts and targets of the reductions of this rank, where everybody's arrays lie."""
        key = "in_place", source.nbytes, dtype, source.runs, places
        if (found := self._bound_in_place.get(key)) is None:
            sources: list[Array] = []
            outs: list[Array] = []
            for rank, place in enumerate(places):
                segment, offset, out_segment, out_offset = _PLACE.unpack(place)
                sources.append(self._segments[segment][rank][offset : offset + source.nbytes])
                outs.append(self._segments[out_segment][rank][out_offset : out_offset + source.nbytes])
            program = shared_memory.in_place(self.rank, self.size, source.nbytes, source.runs)
            found = self._bound_in_place.keep(key, bind_in_place(program, sources, outs, dtype))
        return found

    def _allocate(self, call_text: str, nbytes: int) -> Array:
        self._begin_collective(call_text)
        try:
            segment = self._window.allocate(nbytes, lambda offer: self._tell_all("allocate, its memory", offer))
        except NoMemory as error:
            raise self._agreed(self._no_memory(error, nbytes)) from None
        self._segments.append(segment)
        own = segment[self.rank]
        self._own_segments.append((address_of(own), own.size))
        return own

    def _places(self, source: Packed, out: Packed) -> bytes | None:
        """Where input and output lie in the window, unless they overlap without being the same."""
        source_place, out_place = self._find(source), self._find(out)
        if source_place is None or out_place is None:
            return None
        shift = abs(source_place[1] - out_place[1])
        if source_place[0] == out_place[0] and 0 < shift < source.nbytes:
            return None
        return _PLACE.pack(*source_place, *out_place)

    def _find(self, packed: Packed) -> tuple[int, int] | None:
        """Segment and offset of a message that lies in memory from `allocate` in the canonical layout."""
        address = packed.address() if self._segments else None
        if address is None:
            return None
        for number, (begin, nbytes) in enumerate(self._own_segments):
            if begin <= address <= begin + nbytes - packed.nbytes:
                return number, address - begin
        return None

    def _shown_places(self) -> list[bytes]:
        """Where each rank's arrays lie in the window; empty for a rank whose arrays do not."""
        frames = self._frames[self._calls % 2]
        places = [bytes(frame[CALL_TEXT_BYTES : CALL_TEXT_BYTES + _PLACE.size]) for frame in frames]
        return [b"" if place == _NOWHERE else place for place in places]

    # Order. `_calls` counts collectives and `_chunks` their chunks; both advance alike on all ranks, mismatch or not.

    def _half(self) -> int:
        return self._chunks % 2

    def _next_half(self) -> int:
        return (self._chunks + 1) % 2

    def _begin_collective(self, call_text: str, places: bytes = _NOWHERE) -> None:
        """Begin a collective and its first chunk: show the call, wait for all ranks, compare."""
        frame = self._shown_frame(call_text)
        self._calls += 1
        half = self._calls % 2
        if self._own_frames[half] is not frame:
            self._frames[half][self.rank][:CALL_TEXT_BYTES] = frame
            self._own_frames[half] = frame
        if self._segments:
            self._frames[half][self.rank][CALL_TEXT_BYTES : CALL_TEXT_BYTES + _PLACE.size] = places
        agrees = self._meet(half)
        self._chunks += 1
        if not agrees:
            shown = [bytes(other[:CALL_TEXT_BYTES]) for other in self._frames[half]]
            raise self._agreed(mismatch(self.group, self._begun, shown, self.world_ranks))

    def _meet(self, half: int = NO_FRAME) -> bool:
        """Meet all ranks; return whether what their frames of this half show, if one is given, is the same."""
        try:
            return self._window.meet(self.timeout, half)
        except Absence as absence:
            raise self._absence_error(absence) from None

    def _absence_error(self, absence: Absence) -> CollectiveError:
        if absence.gone:
            return gone_error(self._here(), absence.gone, self._names)
        previous = self._frames[(self._calls - 1) % 2]
        last_calls = {rank: call_text_in(bytes(previous[rank][:CALL_TEXT_BYTES])) for rank in absence.late}
        return late_error(self._here(), absence.late, last_calls, self.timeout, self._names)

    @abstractmethod
    def abort(self, code: int = 1) -> None: ...
