"""Horovod's calls on several tensors at once, and on rows that are shared out: `hvd.grouped_allreduce`, `alltoall` …

`dtrain.collectives.horovod` has them under their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtrain.base.errors import ShapeError, TraceError, expected
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.ops import collective_ops as ops
from dtrain.collectives.world import context
from dtrain.collectives.world.context import communicator_for
from dtrain.core.context import context as _tracing
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import zeros
from dtrain.functional import cat, copy, split
from dtrain.graph.inference import expect_rules

Reduce = Callable[[Tensor, str], Tensor]


class GroupWork:
    """Several tensors under way; `synchronize` waits for all of them and gives them."""

    def __init__(self, tensors: list[Tensor], works: list[Work[Any]]) -> None:
        self._tensors, self._works = tensors, works

    def is_completed(self) -> bool:
        """Whether all have ended."""
        return all(work.is_completed() for work in self._works)

    def wait(self, timeout: float | None = None) -> list[Tensor]:
        """The tensors, once all have ended."""
        for work in self._works:
            work.wait(timeout)
        return self._tensors


def kinds_of(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The places of the tensors by dtype and device: what may travel in one message."""
    kinds: dict[Any, list[int]] = {}
    for place, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(place)
    return list(kinds.values())


def reduce_together(tensors: Sequence[Tensor], op: str, name: str) -> list[Tensor]:
    """All-reduce of each, as new tensors, in one message for each dtype and device; gradients flow."""
    results = list(tensors)
    for places in kinds_of(tensors):
        if op in ("sum", "mean"):
            labels = [f"{name or 'grouped_allreduce'}.{place}" for place in places]
            reduced = ops.all_reduce_many([copy(tensors[place]) for place in places], op=op, labels=labels)
        else:  # gradients of the others compare each result with its tensor
            reduced = [ops.all_reduce(tensors[place], op=op) for place in places]
        for place, result in zip(places, reduced):
            results[place] = result
    return results


def begin_together(tensors: list[Tensor], op: str) -> GroupWork:
    """All-reduce of each in place, under way."""
    if _tracing.tracer is not None:
        advice = "write grouped_allreduce: a traced function overlaps its collectives by itself"
        raise TraceError(
            expected("grouped_allreduce_async", "a call outside of traced functions", "one inside", advice)
        )
    works = []
    for places in kinds_of(tensors):
        expect_rules("all_reduce_many", [tensors[place].type for place in places])
        arrays = [tensors[place].concrete("grouped_allreduce_async") for place in places]
        for place in places:
            tensors[place].version += 1
        works.append(communicator_for(arrays[0], "world").all_reduce_many_async(arrays, op=op, outs=arrays))
    return GroupWork(tensors, works)


def checked(where: str, tensors: Any) -> list[Tensor]:
    """The tensors of a group. Raises TypeError for anything but a list of at least one."""
    if not isinstance(tensors, list | tuple) or not tensors:
        given = "none" if isinstance(tensors, list | tuple) else type(tensors).__name__
        raise TypeError(expected(where, "a list of tensors", given))
    return [as_tensor(tensor) for tensor in tensors]


# Rows shared out ------------------------------------------------------------------------------------------------------


def exchange_rows(tensor: Tensor, splits: Any) -> Tensor | tuple[Tensor, Tensor]:
    """`alltoall`: the next splits[s] rows go to rank s; the rows that come, in rank order, and how many from each."""
    world = context.get_communicator()
    if not tensor.ndim:
        raise ShapeError(
            expected("alltoall", "a tensor with at least one axis", str(tensor.type), "reshape it to (1,)")
        )
    if splits is None:
        if tensor.shape[0] % world.size:
            advice = "give splits="
            raise ShapeError(expected("alltoall", f"rows that divide by {world.size} ranks", str(tensor.type), advice))
        return ops.all_to_all(tensor)
    if _tracing.tracer is not None:
        advice = "leave splits out, and pad the rows to as many for each rank"
        raise TraceError(expected("alltoall", "splits outside of traced functions", "splits inside one", advice))
    sent = [int(count) for count in np.asarray(splits.numpy() if isinstance(splits, Tensor) else splits).reshape(-1)]
    fits = len(sent) == world.size and min(sent) >= 0 and sum(sent) == tensor.shape[0]
    # Every rank learns of a wrong one: else the others would wait for it.
    every = world.all_gather_object(sent if fits else None)
    if not fits:
        wanted = f"splits for {world.size} ranks that add up to {tensor.shape[0]} rows"
        raise ShapeError(expected("alltoall", wanted, str(sent)))
    wrong = [rank for rank, counts in enumerate(every) if counts is None]
    if wrong:
        raise ShapeError(expected("alltoall", "splits that fit on every rank", f"others on rank {wrong[0]}"))
    received = [counts[world.rank] for counts in every]
    longest = max(max(counts) for counts in every)
    rows = ops.all_to_all(cat([_filled(block, longest) for block in split(tensor, sent)]))
    blocks = [rows[rank * longest : rank * longest + count] for rank, count in enumerate(received)]
    return cat(blocks), as_tensor(np.array(received, np.int32))


def reduce_rows(tensor: Tensor, op: str) -> Tensor:
    """`reducescatter`: of the sum or mean over ranks this rank's share of the rows; the first ranks get one more."""
    world = context.get_communicator()
    if not tensor.ndim:
        advice = "use allreduce"
        raise ShapeError(expected("reducescatter", "a tensor with at least one axis", str(tensor.type), advice))
    if op not in ("sum", "mean"):
        raise ValueError(expected("reducescatter", "op Sum or Average", repr(op), "use allreduce, and take a slice"))
    if op == "mean" and not tensor.dtype.is_floating:
        raise TypeError(expected("reducescatter", "floats to average", str(tensor.type), "write op=hvd.Sum"))
    share, more = divmod(tensor.shape[0], world.size)
    counts = [share + (rank < more) for rank in range(world.size)]
    blocks = split(tensor, counts) if more else None
    rows = tensor if blocks is None else cat([_filled(block, share + 1) for block in blocks])
    result = ops.reduce_scatter(rows, op=op)
    return result if blocks is None else result[: counts[world.rank]]


def _filled(block: Tensor, rows: int) -> Tensor:
    missing = rows - block.shape[0]
    return (
        block if not missing else cat([block, zeros(missing, *block.shape[1:], dtype=block.dtype, device=block.device)])
    )
