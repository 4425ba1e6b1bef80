"""The one op that the graph itself knows: a constant, whose array is an attribute.

The array says the type of a plain one; of one that is laid out or quantized `type` does.
"""

from __future__ import annotations

from typing import Any

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import from_numpy
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType, tensor_type
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _infer(*, value: Any, device: Device = CPU, type: TensorType | None = None) -> TensorType:
    if type is not None:
        if (value.shape, value.dtype) != (type.array_shape, type.array_dtype):
            given = f"one of shape {value.shape} and dtype {value.dtype}"
            raise ShapeError(expected("constant", f"an array that holds {type}", given))
        return type.with_(device=device)
    return tensor_type(value.shape, from_numpy(value.dtype), device=device)


CONSTANT = register_op(Op(name="constant", infer=_infer, calls=lambda: list[Call]()))


def constant_attrs(array: Any, type: TensorType) -> dict[str, Any]:
    """The attributes of a constant on the CPU that holds `array` as a tensor of this type."""
    return {"value": array} if type.is_plain else {"value": array, "type": type}
