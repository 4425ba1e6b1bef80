"""The one op that the graph itself knows: a constant, whose array is an attribute."""

from __future__ import annotations

from typing import Any

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import from_numpy
from dtrain.base.tensor_type import TensorType, tensor_type
from dtrain.graph.op import Op, Sample, register_op


def _infer(*, value: Any, device: Device = CPU) -> TensorType:
    return tensor_type(value.shape, from_numpy(value.dtype), device=device)


CONSTANT = register_op(Op(name="constant", infer=_infer, samples=lambda: list[Sample]()))
