"""All-reduces of many tensors in buckets, eagerly and in graphs, with the same bits however they are packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.collectives.memory.bucket import divide
from dtrain.collectives.ops.collective_ops import all_reduce, all_reduce_many
from dtrain.collectives.world.context import get_communicator
from dtrain.core.context import context, is_tracing
from dtrain.core.tensor import Tensor, as_tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketOptions:
    """The classic controls of packing.

    bucket_bytes: what a bucket holds at most, 0 for one message per gradient. ignore_first: so many gradients, counted
    from the end of the model, where backward begins, stay out of buckets.
    """

    bucket_bytes: int
    ignore_first: int = 0


def reduce_packed(
    names: Sequence[str],
    values: Sequence[Tensor],
    op: str,
    group: str,
    options: BucketOptions,
    weight_on: Any = None,
) -> list[Tensor]:
    """All-reduce tensors in buckets of one dtype and device each; the same bits however they are packed.

    Args:
        names: what messages and plans call the tensors; empty ones are no gradients.
        weight_on: device -> the weight for tensors there, for a weighted reduction.
    """
    kinds: dict[Any, list[int]] = {}
    for position, value in enumerate(values):
        kinds.setdefault((value.dtype, value.device), []).append(position)
    # All inputs before all collectives: `pack_all_reduce` merges only what nothing else stands between.
    weights = {kind: None if weight_on is None else weight_on(kind[1]) for kind in kinds}
    reduced = list(values)
    reduce = _reduce_traced if is_tracing() else _reduce_eagerly
    for kind, positions in kinds.items():
        some_names, some = [names[i] for i in positions], [values[i] for i in positions]
        for position, value in zip(positions, reduce(some_names, some, op, group, options, weights[kind])):
            reduced[position] = value
    return reduced


def _reduce_traced(
    names: list[str], values: list[Tensor], op: str, group: str, options: BucketOptions, weight: Tensor | None
) -> list[Tensor]:
    """One all-reduce per tensor; the graph pass `pack_all_reduce` merges them."""
    sizes = [0 if i < options.ignore_first else options.bucket_bytes for i in range(len(values))]
    assert context.tracer is not None
    bunch = len(context.tracer.graph.nodes) + 1  # a number that no other pass of this graph has
    return [
        all_reduce(value, op=op, group=group, label=name, bucket_bytes=size, bunch=bunch, weight=weight)
        for name, value, size in zip(names, values, sizes)
    ]


def _reduce_eagerly(
    names: list[str], values: list[Tensor], op: str, group: str, options: BucketOptions, weight: Tensor | None
) -> list[Tensor]:
    first = options.ignore_first if options.bucket_bytes else len(values)
    reduced = [
        all_reduce(value, op=op, group=group, label=name, weight=weight)
        for name, value in zip(names[:first], values[:first])
    ]
    rest, labels = values[first:], names[first:]
    for part in divide([value.type.nbytes for value in rest], options.bucket_bytes):
        some, some_labels = [rest[i] for i in part], [labels[i] for i in part]
        reduced += all_reduce_many(some, op=op, group=group, labels=some_labels, weight=weight)
    return reduced


def weight_of_root(group: str) -> Any:
    """The weight by which a mean is what rank 0 of a group has."""
    weight = 1.0 if get_communicator(group).rank == 0 else 0.0
    return lambda device: as_tensor(np.array([weight, weight])).to(device)
