"""Which ops carry quantized elements along: those that only move them. Every other op refuses such inputs."""

from __future__ import annotations

from math import prod

from dtrain.base.tensor_type import TensorType
from dtrain.graph.quantization_rules import Attrs, carries_elements
from dtrain.ops.cast import COPY, TO_DEVICE
from dtrain.ops.indexing import GET_ITEM
from dtrain.ops.relayout import RELAYOUT
from dtrain.ops.shape import BROADCAST_TO, RESHAPE, TRANSPOSE


def _same(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int:
    return axis


def _reshaped(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    """The axis of the same size with as many elements before it, where the reshape leaves just one."""
    before, size = prod(source.shape[:axis]), source.shape[axis]
    places = [i for i, other in enumerate(target.shape) if other == size and prod(target.shape[:i]) == before]
    return places[0] if len(places) == 1 else None


def _transposed(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    moved: int = attrs["axes"].index(axis)
    return moved


def _broadcast(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    moved = axis + target.ndim - source.ndim
    return moved if target.shape[moved] == source.shape[axis] else None


def _cut(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int | None:
    """An index may leave out a part of the axis, and the scales with it."""
    return None


for _op in (COPY, TO_DEVICE, RELAYOUT):
    carries_elements(_op, _same)
carries_elements(RESHAPE, _reshaped)
carries_elements(TRANSPOSE, _transposed)
carries_elements(BROADCAST_TO, _broadcast)
carries_elements(GET_ITEM, _cut)
