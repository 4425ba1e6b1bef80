"""Storages and blocks: the pieces of memory that a memory plan deals out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dtrain.base.alignment import ALIGNMENT, aligned
from dtrain.base.device import Device
from dtrain.base.tensor_type import TensorType
from dtrain.graph.graph import Node
from dtrain.runtime.buckets import BucketRequest

Place = Literal["arena", "argument", "state", "constant"]


@dataclass(slots=True, eq=False)
class Storage:
    """`nbytes` bytes on `device`: the memory of one or more values, or the workspace of a node.

    `place` says whose: the arena's of its device, or given from outside. `first` and `last` are the positions of the
    nodes between which its contents matter.
    """

    nbytes: int
    device: Device
    place: Place
    position: int = 0  # of the argument or state
    first: int = 0
    last: int = 0
    offset: int = 0
    block: Block | None = None


@dataclass(slots=True, eq=False)
class Block:
    """Storages that must lie one after another: bucket `number` of the plan, which `node` reads.

    Members' offsets count from the begin of the block.
    """

    number: int
    node: Node
    members: list[Storage] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(member.nbytes for member in self.members)

    @property
    def request(self) -> BucketRequest:
        """What is asked of whoever provides buckets."""
        return BucketRequest(self.number, self.node, self.nbytes, self.members[0].device)


def storage_of(type: TensorType, place: Place, position: int = 0, *, first: int, last: int) -> Storage:
    """A storage for one value of this type."""
    return Storage(padded(type.nbytes), type.device, place, position, first, last)


def padded(nbytes: int) -> int:
    """The bytes that a storage of `nbytes` takes: at least one unit, so that addresses differ."""
    return max(ALIGNMENT, aligned(nbytes))
