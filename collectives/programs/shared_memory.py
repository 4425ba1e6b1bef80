"""Programs of ranks that see one another's memory: copy in, meet, and read what the others have put there.

A message moves in chunks of one stage. Small reductions are read by everyone from everywhere (one meeting); in larger
ones each rank reduces its slice and everyone reads the slices (two meetings a chunk). Arrays that all ranks see are
reduced where they lie: the owner of a slice writes the result into everybody's array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtrain.base.alignment import ALIGNMENT
from dtrain.collectives.memory.packed import slices
from dtrain.collectives.programs.program import STAGE, Copy, Meet, Part, Program, Reduce, Slice, Step, in_chunks

_Take = Callable[[tuple[Slice, ...]], tuple[Step, ...]]


def program_of(
    kind: str, rank: int, size: int, nbytes: int, *, stage_bytes: int, one_shot_bytes: int = 0, root: int = 0
) -> Program:
    """The program of a kind of call, which has the name of its function."""
    if kind == "barrier":
        return barrier(rank, size)
    if kind == "broadcast":
        return broadcast(rank, size, nbytes, stage_bytes, root)
    if kind == "all_reduce" and nbytes <= one_shot_bytes:
        return one_shot(rank, size, nbytes)
    return _WRITERS[kind](rank, size, nbytes, stage_bytes)


def barrier(rank: int, size: int) -> Program:
    """All ranks meet."""
    return Program("shared_barrier", rank, size, (Part((Meet("call"),), range(1)),))


def one_shot(rank: int, size: int, nbytes: int) -> Program:
    """All-reduce: every rank reduces everything. One meeting; reads size·nbytes."""
    parts = tuple(Slice(STAGE, 0, nbytes, other) for other in range(size))
    steps = (
        Copy(Slice("source", 0, nbytes), Slice(STAGE, 0, nbytes, rank)),
        Meet("call"),
        Reduce(parts, (Slice("out", 0, nbytes),)),
    )
    return Program("shared_one_shot", rank, size, (Part(steps, range(1)),), stage_bytes=nbytes)


def in_slices(rank: int, size: int, nbytes: int, stage_bytes: int) -> Program:
    """All-reduce: each rank reduces its slice in its stage, then everyone reads the slices. Two meetings a chunk."""

    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        borders = slices(length, size)
        mine = borders[rank]
        return (
            Copy(Slice("source", 0, length), Slice(STAGE, 0, length, rank)),
            Meet("call" if is_first else "chunk"),
            Reduce(tuple(Slice(STAGE, *mine, other) for other in range(size)), (Slice(STAGE, *mine, rank),)),
            Meet("end"),
            *(Copy(Slice(STAGE, *border, owner), Slice("out", *border)) for owner, border in enumerate(borders)),
        )

    return Program("shared_slices", rank, size, in_chunks(nbytes, stage_bytes, chunk), stage_bytes=stage_bytes)


def in_place(rank: int, size: int, nbytes: int, runs: Sequence[tuple[int, int]]) -> Program:
    """All-reduce of arrays that all ranks see, where they lie: no copy, two meetings.

    Args:
        runs: first and last byte of what lies without padding in between. Padding may be somebody else's.
    """
    first, last = slices(nbytes, size)[rank]
    mine = [(max(first, begin), min(last, end)) for begin, end in runs]
    steps: list[Step] = [Meet("call")]
    for begin, end in mine:
        if begin < end:
            parts = tuple(Slice("source", begin, end, other) for other in range(size))
            steps.append(Reduce(parts, tuple(Slice("out", begin, end, other) for other in range(size))))
    return Program("shared_in_place", rank, size, (Part((*steps, Meet("end")), range(1)),))


def all_gather(rank: int, size: int, nbytes: int, stage_bytes: int) -> Program:
    """Everybody shows its `nbytes`, chunk by chunk, and reads everybody's."""
    return _shown(rank, size, nbytes, stage_bytes, range(size))


def broadcast(rank: int, size: int, nbytes: int, stage_bytes: int, root: int) -> Program:
    """The root shows its `nbytes`, chunk by chunk, and everybody reads them."""
    return _shown(rank, size, nbytes, stage_bytes, [root])


def _shown(rank: int, size: int, nbytes: int, stage_bytes: int, owners: Sequence[int]) -> Program:
    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        put = Copy(Slice("source", 0, length), Slice(STAGE, 0, length, rank))
        take = [
            Copy(Slice(STAGE, 0, length, owner), Slice("out", row * nbytes, row * nbytes + length))
            for row, owner in enumerate(owners)
        ]
        return (*([put] if rank in owners else []), Meet("call" if is_first else "chunk"), *take)

    return Program("shared_copy", rank, size, in_chunks(nbytes, stage_bytes, chunk), stage_bytes=stage_bytes)


def all_to_all(rank: int, size: int, nbytes: int, stage_bytes: int) -> Program:
    """Block r of everybody's `nbytes` goes to rank r, which puts it where its sender stands in the order of ranks."""
    block = nbytes // size

    def take(shown: tuple[Slice, ...]) -> tuple[Step, ...]:
        return tuple(Copy(part, Slice("out", row * block, row * block + part.nbytes)) for row, part in enumerate(shown))

    return _blocks(rank, size, block, stage_bytes, take)


def reduce_scatter(rank: int, size: int, nbytes: int, stage_bytes: int) -> Program:
    """Block r of everybody's `nbytes` is reduced by rank r."""

    def take(shown: tuple[Slice, ...]) -> tuple[Step, ...]:
        return (Reduce(shown, (Slice("out", 0, shown[0].nbytes),)),)

    return _blocks(rank, size, nbytes // size, stage_bytes, take)


def _blocks(rank: int, size: int, block: int, stage_bytes: int, take: _Take) -> Program:
    """Show every rank its block, piece by piece; `take` says what becomes of the pieces that all have for this rank."""
    room = stage_bytes // size // ALIGNMENT * ALIGNMENT

    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        put = (
            Copy(
                Slice("source", other * block, other * block + length),
                Slice(STAGE, other * room, other * room + length, rank),
            )
            for other in range(size)
        )
        shown = tuple(Slice(STAGE, rank * room, rank * room + length, other) for other in range(size))
        return (*put, Meet("call" if is_first else "chunk"), *take(shown))

    return Program("shared_copy", rank, size, in_chunks(block, room, chunk), stage_bytes=stage_bytes)


_WRITERS: dict[str, Callable[[int, int, int, int], Program]] = {
    "all_reduce": in_slices,
    "reduce_scatter": reduce_scatter,
    "all_gather": all_gather,
    "all_to_all": all_to_all,
}
