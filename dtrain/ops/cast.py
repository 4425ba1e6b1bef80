"""The same elements elsewhere: cast to another dtype, copy, move to another device."""

from __future__ import annotations

from typing import Any

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import ALL, DType, DTypeLike, as_dtype, float16, float32, float64, int32, promote_scalar
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.apply import cast as cast_to
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _cast_infer(x: TensorType, *, dtype: DType) -> TensorType:
    return x.with_(dtype=dtype)


def _cast_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (cast_to(grad, node.inputs[0].dtype),)


def _cast_calls() -> list[Call]:
    kinds = (float64, float32, float16, int32)
    # The numeric gradient sees only what f64 holds: narrower results are steps.
    return [
        Call(inputs=((2, 3),), attrs={"dtype": dtype}, tags=() if dtype is float64 else ("no gradient",))
        for dtype in kinds
    ]


CAST = register_op(
    Op(name="cast", infer=_cast_infer, grad=_cast_grad, calls=_cast_calls, dtypes=ALL, grad_reads="none")
)


def _copy_infer(x: TensorType) -> TensorType:
    return x


def _copy_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (grad,)


COPY = register_op(
    Op(
        name="copy",
        infer=_copy_infer,
        grad=_copy_grad,
        calls=lambda: [Call(inputs=((2, 3),)), Call(inputs=((),)), Call(inputs=((0, 3),))],
        dtypes=ALL,
        grad_reads="none",
    )
)


def _to_device_infer(x: TensorType, *, device: Device) -> TensorType:
    return x.with_(device=device)


def _to_device_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(TO_DEVICE, grad, device=node.inputs[0].device),)


TO_DEVICE = register_op(
    Op(
        name="to_device",
        infer=_to_device_infer,
        grad=_to_device_grad,
        calls=lambda: [Call(inputs=((2, 3),), attrs={"device": CPU}), Call(inputs=((),), attrs={"device": CPU})],
        dtypes=ALL,
        grad_reads="none",
    )
)


computes_lane_by_lane(CAST)
computes_lane_by_lane(COPY)
computes_lane_by_lane(TO_DEVICE)


def cast(x: Any, dtype: DTypeLike) -> Tensor:
    """The elements as another dtype: floats rounded to the nearest, to integers towards zero, to bool as x ≠ 0.

    >>> cast(tensor([1.7, -0.2]), "s32")
    Tensor([1, 0], s32[2]@cpu)
    """
    return cast_to(as_tensor(x), as_dtype(dtype))


def copy(x: Tensor) -> Tensor:
    """A new tensor with the same elements, in memory of its own."""
    return apply(COPY, x)


def as_floating(x: Any) -> Tensor:
    """Integers and bools as f32; floats as they are."""
    tensor = as_tensor(x)
    dtype = tensor.dtype
    return tensor if dtype.is_floating else cast_to(tensor, promote_scalar(dtype, 1.0))


install_methods({"astype": cast, "clone": copy, "copy": copy})
