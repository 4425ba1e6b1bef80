"""Whether the programs of all ranks fit together: what a transport takes for granted.

Between two meetings nobody writes what another rank reads or writes; what one rank sends, its peer receives, in the
same exchange and of the same length; and every byte of the output is written exactly once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from dtrain.collectives.programs.program import OWN, Copy, Exchange, Meet, Program, Reduce, Slice, Step


class _Access(NamedTuple):
    start: int
    stop: int
    rank: int
    writes: bool


def verify(programs: Sequence[Program], out_bytes: Sequence[int], *, is_in_place: bool = False) -> None:
    """Check the programs of one call, in rank order.

    Args:
        programs: one per rank.
        out_bytes: bytes of each rank's output.
        is_in_place: whether ranks write to one another's outputs.

    Raises:
        ValueError: they do not fit together; says which rank, and where.
    """
    steps = [list(program.steps()) for program in programs]
    purposes = [[step.purpose for step in own if isinstance(step, Meet)] for own in steps]
    if any(own != purposes[0] for own in purposes) or purposes[0][:1] != ["call"]:
        raise ValueError(f"expected the same meetings on all ranks, the call first, got {purposes}")
    _check_exchanges(steps)
    _check_shared_memory(steps)
    _check_outputs(steps, out_bytes, is_in_place)


def _check_exchanges(steps: Sequence[Sequence[Step]]) -> None:
    exchanges = [[step for step in own if isinstance(step, Exchange)] for own in steps]
    if len({len(own) for own in exchanges}) != 1:
        raise ValueError(f"expected as many exchanges on all ranks, got {[len(own) for own in exchanges]}")
    for number, together in enumerate(zip(*exchanges)):
        sent, received = defaultdict[tuple[int, int], list[int]](list), defaultdict[tuple[int, int], list[int]](list)
        for rank, exchange in enumerate(together):
            for peer, data in exchange.sends:
                sent[rank, peer].append(data.nbytes)
            for peer, data in exchange.receives:
                received[peer, rank].append(data.nbytes)
        if sent != received or len({exchange.pattern for exchange in together}) != 1:
            raise ValueError(f"exchange {number}: expected what is sent to be received, got {sent} and {received}")


def accesses(step: Step) -> Iterator[tuple[Slice, bool]]:
    """Every slice that a step touches, and whether it writes it."""
    match step:
        case Copy(source, target):
            yield from ((source, False), (target, True))
        case Reduce(parts, targets):
            yield from ((part, False) for part in parts)
            yield from ((target, True) for target in targets)
        case Exchange(sends, receives, _):
            yield from ((data, False) for _, data in sends)
            yield from ((data, True) for _, data in receives)


def _check_shared_memory(steps: Sequence[Sequence[Step]]) -> None:
    """Each memory between two meetings: who touches which bytes of it."""
    phases: dict[tuple[int, str, int], list[_Access]] = defaultdict(list)
    for rank, own in enumerate(steps):
        phase = 0
        for step in own:
            phase += isinstance(step, Meet)
            for data, writes in accesses(step):
                if data.nbytes:
                    owner = rank if data.rank == OWN else data.rank
                    phases[phase, data.buffer, owner].append(_Access(data.start, data.stop, rank, writes))
    for (phase, buffer, owner), touched in phases.items():
        touched.sort()
        for number, one in enumerate(touched):
            for other in touched[number + 1 :]:
                if other.start >= one.stop:
                    break
                if one.rank != other.rank and (one.writes or other.writes):
                    raise ValueError(f"behind meeting {phase}, {buffer} of rank {owner}: {one} meets {other}")


def _check_outputs(steps: Sequence[Sequence[Step]], out_bytes: Sequence[int], is_in_place: bool) -> None:
    written: list[list[tuple[int, int]]] = [[] for _ in steps]
    for rank, own in enumerate(steps):
        for step in own:
            for data, writes in accesses(step):
                if writes and data.buffer == "out" and data.nbytes:
                    written[rank if data.rank == OWN else data.rank].append((data.start, data.stop))
    for rank, (spans, nbytes) in enumerate(zip(written, out_bytes, strict=True)):
        spans.sort()
        covered = sum(stop - start for start, stop in spans)
        is_whole = covered == nbytes and all(one[1] == other[0] for one, other in pairwise(spans))
        if not is_whole and not is_in_place:
            raise ValueError(f"rank {rank}: expected every byte of {nbytes} to be written once, got {spans}")
