"""Collectives in shared memory: copy in, meet, and read what the others have put there.

A message moves in chunks of one staging half. Small reductions are read by everyone from everywhere (one meeting);
in larger ones each rank reduces its slice in place and everyone reads the slices (two meetings per chunk). Arrays
from `allocate` are reduced where they lie: the owner of a slice writes the result into everybody's array.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.absence import gone_error, late_error
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.signature import SIGNATURE_BYTES, mismatch, text_of
from dtrain.collectives.memory.packed import Packed, address_of, slices
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
from dtrain.collectives.programs.rank_order import Array, ReduceOp, Reduction, reduce_in_rank_order
from dtrain.collectives.programs.weighing import SHOWN_BYTES, Weighted

# Bytes that a rank reads at most where every rank reduces everything. That saves the second meeting, which costs more
# up to here; docs/performance.md has the measurement.
ONE_SHOT_READ_BYTES = 512 * 1024
DEFAULT_STAGING_BYTES = 1 << 20

# Segment and offset of the input and of the output, -1 where an array lies outside of the window.
_PLACE = struct.Struct("<4q")
_NOWHERE = _PLACE.pack(-1, 0, -1, 0)
# Behind the places in a frame: the rank's weight.
_WEIGHT = slice(SIGNATURE_BYTES + _PLACE.size, SIGNATURE_BYTES + _PLACE.size + SHOWN_BYTES)


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

    def algorithm(self, kind: str, nbytes: int) -> str:
        if kind in ("all_reduce", "all_reduce_many"):
            return "shared_one_shot" if nbytes <= self._one_shot_bytes else "shared_slices"
        return "shared_copy"

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

    def _tell_broken(self, state: State, text: str) -> None:
        self._window.leave(state, text)

    # Reductions

    def _all_reduce(self, text: str, sources: list[Array], outs: list[Array], op: ReduceOp | Weighted) -> None:
        source, dtype = Packed(sources), sources[0].dtype
        self._show_weight(op)
        if source.nbytes <= self._one_shot_bytes:
            self._stage(source, 0, self._next_half())
            self._meet(text)
            self._reduce_everything(source.nbytes, outs, self._settled(op))
            return
        out = Packed(outs)
        if not self._segments:
            self._stage(source, 0, self._next_half())
            self._meet(text)
        elif self._meet_in_window(text, source, out, dtype, op):
            return
        self._reduce_staged(source, out, dtype, self._settled(op))

    def _show_weight(self, op: ReduceOp | Weighted) -> None:
        """Put this rank's weight into the frame of the meeting to come."""
        if isinstance(op, Weighted):
            self._frames[(self._calls + 1) % 2][self.rank][_WEIGHT] = op.shown()

    def _settled(self, op: ReduceOp | Weighted) -> Reduction:
        """The reduction, now that all ranks have shown their weights."""
        if not isinstance(op, Weighted):
            return op
        return op.coefficients([bytes(frame[_WEIGHT]) for frame in self._frames[self._calls % 2]])

    def _reduce_everything(self, nbytes: int, outs: list[Array], op: Reduction) -> None:
        """Reduce all of a small message on every rank: one meeting, and the same bits everywhere."""
        dtype = outs[0].dtype
        parts = [part[:nbytes].view(dtype) for part in self._met()]
        if len(outs) == 1:
            reduce_in_rank_order(parts, op, outs[0])
        else:
            result = np.empty(nbytes, np.uint8)
            reduce_in_rank_order(parts, op, result.view(dtype))
            Packed(outs).write(0, result)

    def _meet_in_window(
        self, text: str, source: Packed, out: Packed, dtype: np.dtype[Any], op: ReduceOp | Weighted
    ) -> bool:
        """Reduce where the arrays lie, if all ranks' arrays lie in the window; otherwise stage the first chunk."""
        places = self._places(source, out)
        if places is None:
            self._stage(source, 0, self._next_half())
        self._meet(text, places or _NOWHERE)
        shown = self._shown_places()
        if all(shown):
            self._reduce_in_place(shown, source, dtype, self._settled(op))
            return True
        if any(shown):  # those who have staged nothing do it now, and all meet once more
            if places is not None:
                self._stage(source, 0, self._half())
            self._synchronize()
        return False

    def _stage(self, source: Packed, start: int, half: int) -> None:
        """Copy one chunk into this rank's staging."""
        nbytes = min(self._staging_bytes, source.nbytes - start)
        source.read(start, self._staging[half][self.rank][:nbytes])

    def _reduce_staged(self, source: Packed, out: Packed, dtype: np.dtype[Any], op: Reduction) -> None:
        start = 0
        while True:
            nbytes = min(self._staging_bytes, source.nbytes - start)
            parts = [part[:nbytes] for part in self._met()]
            self._reduce_slice(parts, [parts[self.rank]], dtype, op)
            self._synchronize()
            for part, (first, last) in zip(parts, slices(nbytes, self.size), strict=True):
                out.write(start + first, part[first:last])
            start += nbytes
            if start >= source.nbytes:
                return
            self._stage(source, start, self._next_half())
            self._next_chunk()

    def _reduce_in_place(self, places: Sequence[bytes], source: Packed, dtype: np.dtype[Any], op: Reduction) -> None:
        sources: list[Array] = []
        outs: list[Array] = []
        for rank, place in enumerate(places):
            segment, offset, out_segment, out_offset = _PLACE.unpack(place)
            sources.append(self._segments[segment][rank][offset : offset + source.nbytes])
            outs.append(self._segments[out_segment][rank][out_offset : out_offset + source.nbytes])
        # What lies in the padding between the pieces is somebody else's.
        for first, last in source.runs:
            self._reduce_slice(sources, outs, dtype, op, within=(first, last))
        self._synchronize()

    def _reduce_slice(
        self,
        parts: list[Array],
        targets: list[Array],
        dtype: np.dtype[Any],
        op: Reduction,
        within: tuple[int, int] | None = None,
    ) -> None:
        """Reduce this rank's slice of `parts`, or what of it lies `within`, into the same slice of each target."""
        first, last = slices(parts[0].size, self.size)[self.rank]
        if within is not None:
            first, last = max(first, within[0]), min(last, within[1])
            if first >= last:
                return
        reduce_in_rank_order(
            [part[first:last].view(dtype) for part in parts], op, *(to[first:last].view(dtype) for to in targets)
        )

    def _reduce_scatter(self, text: str, source: Array, out: Array, op: ReduceOp) -> None:
        def reduce(parts: list[Array], first: int, last: int) -> None:
            reduce_in_rank_order([part.view(out.dtype) for part in parts], op, out_bytes[first:last].view(out.dtype))

        out_bytes = out.view(np.uint8)
        self._exchange_blocks(text, source, out.nbytes, reduce)

    # Exchanges

    def _all_to_all(self, text: str, source: Array, out: Array) -> None:
        def copy(parts: list[Array], first: int, last: int) -> None:
            for row, part in zip(rows, parts, strict=True):
                row[first:last] = part

        rows = np.array_split(out.view(np.uint8), self.size)
        self._exchange_blocks(text, source, out.nbytes // self.size, copy)

    def _exchange_blocks(
        self, text: str, source: Array, block_bytes: int, consume: Callable[[list[Array], int, int], None]
    ) -> None:
        """Show every rank its block of `source`, piece by piece; `consume` gets what all have for us."""
        blocks = np.array_split(source.view(np.uint8), self.size)
        limit = self._staging_bytes // self.size // ALIGNMENT * ALIGNMENT
        start = 0
        while True:
            stop = min(start + limit, block_bytes)
            mine = self._mine()
            for rank, block in enumerate(blocks):
                mine[rank * limit :][: stop - start] = block[start:stop]
            if start == 0:
                self._meet(text)
            else:
                self._next_chunk()
            consume([part[self.rank * limit :][: stop - start] for part in self._met()], start, stop)
            start = stop
            if start >= block_bytes:
                return

    def _all_gather(self, text: str, source: Array, out: Array) -> None:
        def copy(parts: list[Array], first: int, last: int) -> None:
            for row, part in zip(rows, parts, strict=True):
                row[first:last] = part

        rows = np.array_split(out.view(np.uint8), self.size)
        self._show(text, source.view(np.uint8), range(self.size), copy)

    def _broadcast(self, text: str, source: Array, out: Array, root: int) -> None:
        def copy(parts: list[Array], first: int, last: int) -> None:
            out_bytes[first:last] = parts[0]

        out_bytes = out.view(np.uint8)
        self._show(text, source.view(np.uint8), [root], copy)

    def _show(
        self, text: str, source: Array, owners: Sequence[int], consume: Callable[[list[Array], int, int], None]
    ) -> None:
        """Let everybody read `source` of the owners, chunk by chunk."""
        start = 0
        while True:
            stop = min(start + self._staging_bytes, source.size)
            if self.rank in owners:
                self._mine()[: stop - start] = source[start:stop]
            if start == 0:
                self._meet(text)
            else:
                self._next_chunk()
            parts = self._met()
            consume([parts[owner][: stop - start] for owner in owners], start, stop)
            start = stop
            if start >= source.size:
                return

    def _barrier(self, text: str) -> None:
        self._meet(text)

    # Memory in which nothing needs to be copied

    def _allocate(self, text: str, nbytes: int) -> Array:
        self._meet(text)
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
        places = [bytes(frame[SIGNATURE_BYTES : SIGNATURE_BYTES + _PLACE.size]) for frame in frames]
        return [b"" if place == _NOWHERE else place for place in places]

    # Order. `_calls` counts collectives and `_chunks` their chunks; both advance alike on all ranks, mismatch or not.

    def _half(self) -> int:
        return self._chunks % 2

    def _next_half(self) -> int:
        return (self._chunks + 1) % 2

    def _mine(self) -> Array:
        """Where this rank puts bytes for the chunk to come."""
        return self._staging[self._next_half()][self.rank]

    def _met(self) -> list[Array]:
        """What everybody has put there for this chunk."""
        return self._staging[self._half()]

    def _meet(self, text: str, places: bytes = _NOWHERE) -> None:
        """Begin a collective and its first chunk: show the call, wait for all ranks, compare."""
        frame = self._shown_frame(text)
        self._calls += 1
        half = self._calls % 2
        if self._own_frames[half] is not frame:
            self._frames[half][self.rank][:SIGNATURE_BYTES] = frame
            self._own_frames[half] = frame
        if self._segments:
            self._frames[half][self.rank][SIGNATURE_BYTES : SIGNATURE_BYTES + _PLACE.size] = places
        agrees = self._synchronize(half)
        self._chunks += 1
        if not agrees:
            shown = [bytes(other[:SIGNATURE_BYTES]) for other in self._frames[half]]
            raise self._agreed(mismatch(self.group, self._begun, shown, self.world_ranks))

    def _next_chunk(self) -> None:
        self._synchronize()
        self._chunks += 1

    def _synchronize(self, half: int = NO_FRAME) -> bool:
        """Meet all ranks; return whether what their frames of this half show, if one is given, is the same."""
        try:
            return self._window.meet(self.timeout, half)
        except Absence as absence:
            raise self._absence_error(absence) from None

    def _absence_error(self, absence: Absence) -> CollectiveError:
        if absence.gone:
            return gone_error(self._here(), absence.gone, self._names)
        previous = self._frames[(self._calls - 1) % 2]
        last_calls = {rank: text_of(bytes(previous[rank][:SIGNATURE_BYTES])) for rank in absence.late}
        return late_error(self._here(), absence.late, last_calls, self.timeout, self._names)

    @abstractmethod
    def abort(self, code: int = 1) -> None: ...
