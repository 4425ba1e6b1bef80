"""Buckets: memory in which some inputs of a node lie one after another, so that a packed collective copies nothing.

The op says which inputs (`BUCKET_MEMBERS`), the memory plan numbers the buckets of a graph, and whoever knows a
better place than ordinary memory for them (shared memory, say) hands itself in through `set_bucket_provider`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dtrain.base.device import Device
from dtrain.graph.constant import CONSTANT
from dtrain.graph.effects import aliases_of
from dtrain.graph.facet import Facet
from dtrain.graph.graph import Node, Value

Array = Any
Members = Callable[[Node], Sequence[Value]]


@dataclass(frozen=True, slots=True)
class BucketRequest:
    """Memory that a plan asks for: its bucket `number`, which `node` reads, of `nbytes` bytes on `device`."""

    number: int
    node: Node
    nbytes: int
    device: Device


# The bytes of every bucket of one plan; None where ordinary memory serves. A plan's buckets are its own for as long as
# anybody holds the arrays or views of them.
BucketProvider = Callable[[Sequence[BucketRequest]], Sequence[Array | None]]

# Which inputs of every node of an op lie in a bucket.
BUCKET_MEMBERS: Facet[Members] = Facet("bucket")

_provider: BucketProvider | None = None


def bucket_members(node: Node) -> Sequence[Value]:
    """The inputs of a node that lie in a bucket, in order."""
    found = BUCKET_MEMBERS.of(node.op.name)
    return found(node) if found is not None else ()


def may_lie_in_bucket(value: Value, position: int, readers: Mapping[Node, int]) -> bool:
    """Whether its producer may write a value into a bucket, where a collective at `position` will overwrite it.

    Args:
        readers: all nodes that read the value, and where they stand.
    """
    node = value.node
    if node is None or node.op.view is not None or node.op is CONSTANT or bucket_members(node):
        return False
    if value.index in aliases_of(node):
        return False
    return all(
        where <= position and reader.op.view is None and (where == position or not aliases_of(reader))
        for reader, where in readers.items()
    )


def set_bucket_provider(provider: BucketProvider) -> None:
    """Ask `provider` for the buckets of every plan from now on. `dtrain.collectives` does this."""
    global _provider
    _provider = provider


def provide_buckets(requests: Sequence[BucketRequest]) -> Sequence[Array | None]:
    """The buckets of one plan."""
    return [None] * len(requests) if _provider is None or not requests else _provider(requests)
