"""Steps of exchanges, bound: between the caller's arrays and scratch, which each call has new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain.collectives.programs.bound import Binder, Bound, CollectiveCall
from dtrain.collectives.programs.program import Copy, Exchange, Meet, Program, Reduce, Slice, Step
from dtrain.collectives.programs.rank_order import Array, reduce_in_rank_order


def binder(program: Program, dtype: np.dtype[Any] | None, meet: Bound, exchange: Callable[[Exchange], Bound]) -> Binder:
    """How steps of `programs.exchanges` become functions.

    Args:
        program: whose steps they are; it works in chunks, so that messages leave and arrive in scratch.
        dtype: of the elements, where the program reduces.
        meet: what to do when ranks compare their call.
        exchange: the transport's own part.
    """

    def bound(step: Step, half: int) -> Bound:
        match step:
            case Meet():
                return meet
            case Exchange():
                return exchange(step)
            case Copy(source, target) if source.buffer == "source":
                return _put(source.start, target)
            case Copy(source, target) if target.buffer == "out":
                return _take(source, target.start)
            case Reduce(parts, targets):
                assert dtype is not None
                return _reduce(parts, targets[0], dtype)
        raise AssertionError(f"no step of exchanges: {step}")

    return bound


def _put(first: int, target: Slice) -> Bound:
    name, begin, end, _ = target

    def put(call: CollectiveCall, start: int) -> None:
        into, only = call.scratch[name], call.source.only
        if into.size == end and only is not None and only.nbytes == end and not start:  # the whole message
            into[...] = call.source.single
        else:
            call.source.read(first + start, into[begin:end])

    return put


def _take(source: Slice, first: int) -> Bound:
    name, begin, end, _ = source

    def take(call: CollectiveCall, start: int) -> None:
        content = call.scratch[name]
        call.out.write(first + start, content if content.size == end - begin else content[begin:end])

    return take


def _reduce(parts: tuple[Slice, ...], target: Slice, dtype: np.dtype[Any]) -> Bound:
    (rows,) = {part.buffer for part in parts}
    width = dtype.itemsize
    elements = [slice(part.start // width, part.stop // width) for part in parts]
    name, begin, end, _ = target

    def reduce(call: CollectiveCall, start: int) -> None:
        buffer = call.scratch[rows]
        typed = buffer[: buffer.size // width * width].view(dtype)
        into: Array | None = call.out.single if name == "out" else call.scratch[name]
        assert into is not None, "several arrays have no view as one"
        shift = start if name == "out" else 0
        reduce_in_rank_order([typed[part] for part in elements], call.op, into[begin + shift : end + shift].view(dtype))

    return reduce
