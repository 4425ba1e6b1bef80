"""A collective as data: what one rank does, step by step, over slices of named buffers.

An algorithm is a pure function of a rank, the number of ranks and a message that returns a `Program`. Nothing here
moves a byte: transports carry programs out, `costs` counts their bytes, `timeline` gives them a clock, and `verify`
looks whether the programs of all ranks fit together.

    buffer      whose                                   shifted from chunk to chunk
    source      the caller's input                      yes
    out         the caller's output                     yes
    stage       seen by all ranks, two halves a rank    no: halves alternate
    any other   scratch of this rank (`scratch`)        no
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

KEPT_STEPS = 256  # a program that has no more keeps them

CALLERS = ("source", "out")
STAGE = "stage"
OWN = -1  # the rank whose program it is


class Slice(NamedTuple):
    """Bytes `start : stop` of a buffer, of another rank's where `rank` says so (memory that ranks share)."""

    buffer: str
    start: int
    stop: int
    rank: int = OWN

    @property
    def nbytes(self) -> int:
        return self.stop - self.start


class Copy(NamedTuple):
    """Copy `source` to `target`, of as many bytes."""

    source: Slice
    target: Slice


class Reduce(NamedTuple):
    """Reduce one part per rank, in rank order, into every target; see `rank_order`."""

    parts: tuple[Slice, ...]
    targets: tuple[Slice, ...]


class Meet(NamedTuple):
    """Go on when all ranks have come here; what they wrote before is then seen by all.

    call: the first meeting, at which ranks show and compare the call and its weight. chunk: a chunk begins, and with
    it the other half of every stage. end: the stages hold results.
    """

    purpose: Literal["call", "chunk", "end"]


class Send(NamedTuple):
    """Give `data` to `peer`."""

    peer: int
    data: Slice


class Receive(NamedTuple):
    """Fill `data` with what `peer` sends."""

    peer: int
    data: Slice


class Table(NamedTuple):
    """Slices of one buffer by rank, as MPI wants them: what all of them lie in, their bytes, and where each begins.

    `is_even` says whether all are as long and lie one behind the other.
    """

    whole: Slice
    counts: list[int]
    starts: list[int]
    is_even: bool


@dataclass(frozen=True)
class Exchange:
    """Sends and receives that all go on at the same time, those to oneself among them.

    Every rank takes part in every exchange of a program. `pattern` names what all ranks together do: a transport
    whose library has a call for it, with the same bytes on the wire, may use that.
    """

    sends: tuple[Send, ...]
    receives: tuple[Receive, ...]
    pattern: Literal["all_to_all", "all_gather", "broadcast"]

    @cached_property
    def sent(self) -> Table:
        """What goes to each rank."""
        return _table([data for _, data in self.sends])

    @cached_property
    def received(self) -> Table:
        """What comes from each rank."""
        return _table([data for _, data in self.receives])


def _table(slices: Sequence[Slice]) -> Table:
    begin, end = min(data.start for data in slices), max(data.stop for data in slices)
    counts, starts = [data.nbytes for data in slices], [data.start - begin for data in slices]
    is_even = starts == [rank * counts[0] for rank in range(len(slices))] and len(set(counts)) == 1
    return Table(slices[0]._replace(start=begin, stop=end), counts, starts, is_even)


Step = Copy | Reduce | Meet | Exchange


class Part(NamedTuple):
    """Steps of one chunk, carried out for each of `starts`, which is added to slices of the caller's buffers."""

    steps: tuple[Step, ...]
    starts: range


@dataclass(frozen=True)
class Program:
    """What `rank` of `size` ranks does for one call.

    Attributes:
        name: the algorithm's, as `Communicator.algorithm` gives it.
        parts: chunks that are alike are one part, so that a program is short however long its message is.
        scratch: bytes of each buffer that is this rank's own.
        stage_bytes: bytes of one half of a rank's stage, 0 where nothing is staged.
    """

    name: str
    rank: int
    size: int
    parts: tuple[Part, ...]
    scratch: Mapping[str, int] = field(default_factory=dict)
    stage_bytes: int = 0

    @cached_property
    def num_steps(self) -> int:
        return sum(len(part.steps) * len(part.starts) for part in self.parts)

    def steps(self) -> Iterator[Step]:
        """Every step in order, with the slices that it really has: shifted, and of `stage0` and `stage1` in turns."""
        return iter(self._all_steps) if self.num_steps <= KEPT_STEPS else self._resolve()

    @cached_property
    def _all_steps(self) -> tuple[Step, ...]:
        return tuple(self._resolve())

    def _resolve(self) -> Iterator[Step]:
        chunk = 0
        for part in self.parts:
            for start in part.starts:
                for step in part.steps:
                    yield resolved(step, start, chunk % 2)
                chunk += any(isinstance(step, Meet) and step.purpose != "end" for step in part.steps)


def copy_of(nbytes: int) -> Program:
    """What a rank alone does for a call."""
    return Program("copy", 0, 1, (Part((Copy(Slice("source", 0, nbytes), Slice("out", 0, nbytes)),), range(1)),))


def resolved(step: Step, start: int, half: int) -> Step:
    """A step of a chunk that begins at byte `start` of the message and uses this half of the stages."""

    def at(data: Slice) -> Slice:
        if data.buffer in CALLERS:
            return data._replace(start=data.start + start, stop=data.stop + start)
        return data._replace(buffer=f"{STAGE}{half}") if data.buffer == STAGE else data

    match step:
        case Copy(source, target):
            return Copy(at(source), at(target))
        case Reduce(parts, targets):
            return Reduce(tuple(map(at, parts)), tuple(map(at, targets)))
        case Exchange(sends, receives, pattern):
            return Exchange(
                tuple(Send(peer, at(data)) for peer, data in sends),
                tuple(Receive(peer, at(data)) for peer, data in receives),
                pattern,
            )
        case _:
            return step


def in_chunks(nbytes: int, chunk_bytes: int, steps_of: Callable[[int, bool], tuple[Step, ...]]) -> tuple[Part, ...]:
    """A message of `nbytes` in chunks: `steps_of(bytes of the chunk, whether it is the first)` says what each does.

    A message without bytes is one chunk, because ranks meet for it all the same.
    """
    first = min(nbytes, chunk_bytes)
    whole = nbytes // chunk_bytes * chunk_bytes
    parts = [Part(steps_of(first, True), range(1))]
    if whole > chunk_bytes:
        parts.append(Part(steps_of(chunk_bytes, False), range(chunk_bytes, whole, chunk_bytes)))
    if 0 < whole < nbytes:
        parts.append(Part(steps_of(nbytes - whole, False), range(whole, whole + 1)))
    return tuple(parts)
