"""Programs as data: those of all ranks fit together, they cost what the design note says, and `verify` sees faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dtrain.collectives.programs import exchanges, shared_memory
from dtrain.collectives.programs.costs import costs
from dtrain.collectives.programs.program import Copy, Exchange, Meet, Part, Program, Reduce, Send
from dtrain.collectives.programs.verify import verify

SIZES = (1, 2, 3, 5, 8)
STAGE = 1024
CHUNK = 2048
NBYTES = (0, 8, 64, 1000, 1024, 1032, 4096, 5000)

# kind -> (what one rank does, bytes of its input from a number of elements, bytes of its output)
Write = Callable[[int, int, int], Program]
SAME = (lambda size, n: n, lambda size, n: n)
KINDS: dict[str, tuple[Write, Callable[[int, int], int], Callable[[int, int], int]]] = {
    "one shot": (shared_memory.one_shot, *SAME),
    "slices": (lambda r, s, n: shared_memory.in_slices(r, s, n, STAGE), *SAME),
    "shared gather": (lambda r, s, n: shared_memory.all_gather(r, s, n, STAGE), lambda s, n: n, lambda s, n: s * n),
    "shared broadcast": (lambda r, s, n: shared_memory.broadcast(r, s, n, STAGE, s - 1), *SAME),
    "shared all to all": (lambda r, s, n: shared_memory.all_to_all(r, s, n, STAGE), *[lambda s, n: s * n] * 2),
    "shared scatter": (lambda r, s, n: shared_memory.reduce_scatter(r, s, n, STAGE), lambda s, n: s * n, SAME[1]),
    "one exchange": (exchanges.one_exchange, *SAME),
    **{
        f"{name}{' in chunks' if chunk else ''}": (write, given, taken)
        for chunk in (0, CHUNK)
        for name, write, given, taken in (
            ("exchanged slices", lambda r, s, n, c=chunk: exchanges.in_slices(r, s, n, c), *SAME),
            ("gather", lambda r, s, n, c=chunk: exchanges.all_gather(r, s, n, c), SAME[0], lambda s, n: s * n),
            ("broadcast", lambda r, s, n, c=chunk: exchanges.broadcast(r, s, n, s // 2, c), *SAME),
            ("all to all", lambda r, s, n, c=chunk: exchanges.all_to_all(r, s, n, c), *[lambda s, n: s * n] * 2),
            ("scatter", lambda r, s, n, c=chunk: exchanges.reduce_scatter(r, s, n, c), lambda s, n: s * n, SAME[1]),
        )
    },
}  # fmt: skip


def of_all_ranks(kind: str, size: int, nbytes: int) -> tuple[list[Program], list[int]]:
    write, given, taken = KINDS[kind]
    return [write(rank, size, given(size, nbytes)) for rank in range(size)], [taken(size, nbytes)] * size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_all_ranks_fit_together(kind: str, size: int) -> None:
    for nbytes in NBYTES:
        if kind != "one shot" or nbytes <= STAGE:
            verify(*of_all_ranks(kind, size, nbytes))


@pytest.mark.parametrize("size", SIZES)
def test_reductions_in_place_fit_together_and_leave_padding_alone(size: int) -> None:
    runs = ((0, 1000), (1024, 1028), (1088, 3000))
    programs = [shared_memory.in_place(rank, size, 3000, runs) for rank in range(size)]
    verify(programs, [3000] * size, is_in_place=True)
    written = sorted(
        (target.start, target.stop)
        for program in programs
        for step in program.steps()
        if isinstance(step, Reduce)
        for target in step.targets
        if target.rank == 0
    )
    assert {byte for span in written for byte in range(*span)} == {byte for run in runs for byte in range(*run)}
    assert sum(stop - start for start, stop in written) == sum(stop - start for start, stop in runs)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_costs_are_those_of_the_design_note(size: int) -> None:
    n = 64 * size * 100
    one_shot = costs(shared_memory.one_shot(1, size, n))
    assert one_shot == (1, 0, 0, n, size * n)
    chunks = -(-n // (64 * size))
    sliced = costs(shared_memory.in_slices(1, size, n, 64 * size))
    assert sliced == (2 * chunks, 0, 0, 2 * n, n)
    assert costs(shared_memory.in_place(1, size, n, ((0, n),))) == (2, 0, 0, 0, n)
    assert costs(exchanges.one_exchange(1, size, n)) == (1, (size - 1) * n, (size - 1) * n, 2 * n, size * n)
    for chunk_bytes, copied in ((0, 0), (64 * size, 2 * n)):
        moved = 2 * n * (size - 1) // size
        assert costs(exchanges.in_slices(1, size, n, chunk_bytes)) == (1, moved, moved, copied, n)


def test_a_long_message_is_a_short_program() -> None:
    program = shared_memory.in_slices(0, 2, 1 << 30, 1 << 20)
    assert len(program.parts) == 2 and sum(len(part.steps) for part in program.parts) < 20
    assert program.num_steps == 6 * 1024


def without(program: Program, step: type) -> Program:
    (first, *rest) = program.parts
    kept = tuple(one for one in first.steps if not isinstance(one, step) or one == Meet("call"))
    return replace(program, parts=(Part(kept, first.starts), *rest))


def test_a_race_is_seen() -> None:
    programs, outs = of_all_ranks("slices", 3, 1000)
    with pytest.raises(ValueError, match=r"behind meeting 1, stage0 of rank 0: .* meets"):
        verify([without(program, Meet) for program in programs], outs)


def test_a_result_that_nobody_takes_is_seen() -> None:
    programs, outs = of_all_ranks("shared gather", 3, 1000)
    with pytest.raises(ValueError, match="rank 2: expected every byte of 3000 to be written once"):
        verify([*programs[:2], without(programs[2], Copy)], outs)


def test_a_message_that_nobody_receives_is_seen() -> None:
    programs, outs = of_all_ranks("gather", 3, 1000)

    def elsewhere(step):
        return replace(step, sends=(*step.sends, Send(1, step.sends[0].data))) if isinstance(step, Exchange) else step

    changed = tuple(Part(tuple(map(elsewhere, part.steps)), part.starts) for part in programs[0].parts)
    with pytest.raises(ValueError, match="exchange 0: expected what is sent to be received"):
        verify([replace(programs[0], parts=changed), *programs[1:]], outs)
    with pytest.raises(ValueError, match="expected the same meetings on all ranks, the call first"):
        verify([replace(programs[0], parts=programs[0].parts[1:]), *programs[1:]], outs)
