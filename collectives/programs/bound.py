"""Programs made ready to run: each step is one call of a function that has all but the caller's arrays already.

A transport binds a program once for each shape of a call and keeps it (`Kept`), so that hot calls look at no step. A
bound program keeps no array of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from dtrain.collectives.memory.packed import Packed
from dtrain.collectives.programs.program import Meet, Program, Step
from dtrain.collectives.programs.rank_order import Array, Reduction
from dtrain.collectives.programs.weighing import Weighted

MAX_KEPT = 256  # programs of one communicator

Value = TypeVar("Value")


class CollectiveCall:
    """One call under way.

    Attributes:
        call_text: what all ranks have to agree on.
        source, out: the caller's arrays.
        op: the reduction, with coefficients as soon as all ranks have shown their weights.
        weighted: the weighted reduction that `op` will be made of, if it is one.
        scratch: buffers of this call's own.
    """

    __slots__ = ("call_text", "op", "out", "scratch", "source", "weighted")

    def __init__(self, call_text: str, source: Packed, out: Packed, op: Any = None) -> None:
        self.call_text = call_text
        self.source = source
        self.out = out
        self.weighted = op if isinstance(op, Weighted) else None
        self.op: Reduction = op
        self.scratch: dict[str, Array] = {}


Bound = Callable[[CollectiveCall, int], None]  # with the byte at which the chunk begins
Binder = Callable[[Step, int], Bound]  # with the half of the stages that the chunk uses


class BoundPart(NamedTuple):
    """Steps of a chunk for either half of the stages, and the bytes at which such chunks begin."""

    halves: tuple[tuple[Bound, ...], tuple[Bound, ...]]
    starts: range


class BoundProgram(NamedTuple):
    """A program whose steps are functions.

    Attributes:
        program: what it was made of.
        parts: its parts.
        behind_call: the number of the first step behind the meeting at which ranks compare their calls.
    """

    program: Program
    parts: tuple[BoundPart, ...]
    behind_call: int


def bind(program: Program, binder: Binder) -> BoundProgram:
    """Make a program ready to run with the steps of a transport."""
    parts = [
        BoundPart(
            (tuple([binder(step, 0) for step in part.steps]), tuple([binder(step, 1) for step in part.steps])),
            part.starts,
        )
        for part in program.parts
    ]
    return BoundProgram(program, tuple(parts), program.parts[0].steps.index(Meet("call")) + 1)


class Kept(dict[Any, Value]):
    """What a communicator keeps from call to call, by the shape of the call; the oldest goes when there are many."""

    def keep(self, key: Any, value: Value) -> Value:
        if len(self) >= MAX_KEPT:
            del self[next(iter(self))]
        self[key] = value
        return value
