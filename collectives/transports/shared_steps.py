"""Steps of shared memory, bound to one group's window: every view of a stage is made once.

Stages have two halves; the number of chunks that the group has gone through says which one a chunk takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.collectives.programs.bound import Binder, Bound, CollectiveCall
from dtrain.collectives.programs.program import CALLERS, STAGE, Copy, Meet, Program, Reduce, Slice, Step
from dtrain.collectives.programs.rank_order import Array, reduce_in_rank_order

Meetings = dict[str, Bound]  # what each purpose of a meeting does


def binder(stages: Sequence[Sequence[Array]], dtype: np.dtype[Any] | None, meetings: Meetings) -> Binder:
    """How steps of `programs.shared_memory` become functions.

    Args:
        stages: for either half, what each rank shows.
        dtype: of the elements, where the program reduces.
        meetings: what to do at a meeting.
    """
    return lambda step, half: _bound(step, stages[half], dtype, meetings)


def _bound(step: Step, stage: Sequence[Array], dtype: np.dtype[Any] | None, meetings: Meetings) -> Bound:
    match step:
        case Meet(purpose):
            return meetings[purpose]
        case Copy(source, target) if source.buffer == "source" and target.buffer == STAGE:
            return _put(source.start, _in(stage, target), dtype)
        case Copy(source, target) if source.buffer == STAGE and target.buffer == "out":
            return _take(_in(stage, source), target.start)
        case Reduce(parts, targets):
            assert dtype is not None
            views = [_in(stage, part).view(dtype) for part in parts]
            if targets[0].buffer == STAGE:
                return _reduce_in_stage(views, [_in(stage, target).view(dtype) for target in targets])
            return _reduce_to_out(views, targets[0])
    raise AssertionError(f"no step of shared memory: {step}")


def _in(stage: Sequence[Array], data: Slice) -> Array:
    assert data.buffer == STAGE
    return stage[data.rank][data.start : data.stop]


def _put(first: int, target: Array, dtype: np.dtype[Any] | None) -> Bound:
    nbytes = target.size
    typed = target.view(dtype) if dtype is not None and dtype.isbuiltin == 1 and nbytes % dtype.itemsize == 0 else None

    def put(call: CollectiveCall, start: int) -> None:
        only = call.source.only
        if only is not None and typed is not None and only.nbytes == nbytes:  # the whole message, as a small one is
            typed[...] = only
        else:
            call.source.read(first + start, target)

    return put


def _take(source: Array, first: int) -> Bound:
    def take(call: CollectiveCall, start: int) -> None:
        call.out.write(first + start, source)

    return take


def _reduce_in_stage(parts: list[Array], targets: list[Array]) -> Bound:
    def reduce(call: CollectiveCall, start: int) -> None:
        reduce_in_rank_order(parts, call.op, *targets)

    return reduce


def _reduce_to_out(parts: list[Array], target: Slice) -> Bound:
    dtype, nbytes = parts[0].dtype, target.nbytes

    def reduce(call: CollectiveCall, start: int) -> None:
        only = call.out.only
        if only is not None and only.nbytes == nbytes:  # the whole message, as a small one is
            reduce_in_rank_order(parts, call.op, only)
        elif (single := call.out.single) is not None:
            first = target.start + start
            reduce_in_rank_order(parts, call.op, single[first : first + nbytes].view(dtype))
        else:  # several arrays have no view as one
            result = np.empty(nbytes, np.uint8)
            reduce_in_rank_order(parts, call.op, result.view(dtype))
            call.out.write(target.start + start, result)

    return reduce


def bind_in_place(
    program: Program, sources: Sequence[Array], outs: Sequence[Array], dtype: np.dtype[Any]
) -> list[tuple[list[Array], list[Array]]]:
    """The reductions of a program of arrays that all ranks see: their parts and their targets.

    Args:
        program: `shared_memory.in_place`.
        sources, outs: each rank's whole message in shared memory, as bytes.
    """

    def view(data: Slice) -> Array:
        assert data.buffer in CALLERS
        message = (sources if data.buffer == "source" else outs)[data.rank]
        return message[data.start : data.stop].view(dtype)

    steps = [step for part in program.parts for step in part.steps if isinstance(step, Reduce)]
    return [([view(part) for part in step.parts], [view(target) for target in step.targets]) for step in steps]
