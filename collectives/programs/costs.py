"""What a program costs, counted from its steps: the numbers of the table in docs/design/0004-collectives.md."""

from __future__ import annotations

from typing import NamedTuple

from dtrain.collectives.programs.program import Copy, Exchange, Meet, Program, Reduce


class Costs(NamedTuple):
    """Of one rank for one call.

    Attributes:
        meetings: how often it waits for all others.
        sent: bytes that leave it for other ranks.
        received: bytes that come from other ranks.
        copied: bytes that it copies.
        reduced: bytes that it reads to reduce.
    """

    meetings: int = 0
    sent: int = 0
    received: int = 0
    copied: int = 0
    reduced: int = 0


def costs(program: Program) -> Costs:
    """Count a program's steps."""
    meetings = sent = received = copied = reduced = 0
    for step in program.steps():
        match step:
            case Meet():
                meetings += 1
            case Exchange(sends, receives, _):
                sent += sum(data.nbytes for peer, data in sends if peer != program.rank)
                received += sum(data.nbytes for peer, data in receives if peer != program.rank)
            case Copy(source, _):
                copied += source.nbytes
            case Reduce(parts, _):
                reduced += sum(part.nbytes for part in parts)
    return Costs(meetings, sent, received, copied, reduced)
