"""Facts of the ops behind `ops/cast.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import ALL, DType, float16, float32, float64, int32
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _cast_infer(x: TensorType, *, dtype: DType) -> TensorType:
    return x.with_(dtype=dtype)


def _cast_calls() -> list[Call]:
    kinds = (float64, float32, float16, int32)
    # The numeric gradient sees only what f64 holds: narrower results are steps.
    return [
        Call(inputs=((2, 3),), attrs={"dtype": dtype}, tags=() if dtype is float64 else ("no gradient",))
        for dtype in kinds
    ]


CAST = register_op(Op(name="cast", infer=_cast_infer, calls=_cast_calls, dtypes=ALL, grad_reads="none"))


def _copy_infer(x: TensorType) -> TensorType:
    return x


COPY = register_op(
    Op(
        name="copy",
        infer=_copy_infer,
        calls=lambda: [Call(inputs=((2, 3),)), Call(inputs=((),)), Call(inputs=((0, 3),))],
        dtypes=ALL,
        grad_reads="none",
    )
)


def _to_device_infer(x: TensorType, *, device: Device) -> TensorType:
    return x.with_(device=device)


TO_DEVICE = register_op(
    Op(
        name="to_device",
        infer=_to_device_infer,
        calls=lambda: [Call(inputs=((2, 3),), attrs={"device": CPU}), Call(inputs=((),), attrs={"device": CPU})],
        dtypes=ALL,
        grad_reads="none",
    )
)


computes_lane_by_lane(CAST)


computes_lane_by_lane(COPY)


computes_lane_by_lane(TO_DEVICE)
