"""Which ops besides views carry quantized elements along: those that only move them. Every other op refuses these."""

from __future__ import annotations

from dtrain.base.tensor_type import TensorType
from dtrain.graph.quantization_rules import Attrs, carries_elements
from dtrain.opset.cast import COPY, TO_DEVICE
from dtrain.opset.relayout import RELAYOUT


def _same(axis: int, source: TensorType, target: TensorType, attrs: Attrs) -> int:
    return axis


for _op in (COPY, TO_DEVICE, RELAYOUT):
    carries_elements(_op, _same)
