"""Ops behind the tensor factory: full, eye, arange, linspace. They have attributes and no inputs."""

from __future__ import annotations

from math import ceil

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import DType, float32, int64
from dtrain.base.tensor_type import Shape, TensorType, tensor_type
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _full_infer(*, shape: Shape, value: float, dtype: DType, device: Device) -> TensorType:
    return tensor_type(shape, dtype, device=device)


def _full_calls() -> list[Call]:
    return [
        Call(inputs=(), attrs={"shape": (2, 3), "value": 1.5, "dtype": float32, "device": CPU}),
        Call(inputs=(), attrs={"shape": (), "value": -3, "dtype": int64, "device": CPU}),
        Call(inputs=(), attrs={"shape": (0, 4), "value": 0, "dtype": float32, "device": CPU}),
    ]


FULL = register_op(Op(name="full", infer=_full_infer, calls=_full_calls))


def _eye_infer(*, n: int, m: int, dtype: DType, device: Device) -> TensorType:
    return tensor_type((n, m), dtype, device=device)


def _eye_calls() -> list[Call]:
    return [
        Call(inputs=(), attrs={"n": 3, "m": 5, "dtype": float32, "device": CPU}),
        Call(inputs=(), attrs={"n": 4, "m": 2, "dtype": int64, "device": CPU}),
        Call(inputs=(), attrs={"n": 0, "m": 2, "dtype": float32, "device": CPU}),
    ]


EYE = register_op(Op(name="eye", infer=_eye_infer, calls=_eye_calls))


def _arange_infer(*, start: float, stop: float, step: float, dtype: DType, device: Device) -> TensorType:
    return tensor_type((max(0, ceil((stop - start) / step)),), dtype, device=device)


def _arange_calls() -> list[Call]:
    return [
        Call(inputs=(), attrs={"start": 0, "stop": 7, "step": 1, "dtype": int64, "device": CPU}),
        Call(inputs=(), attrs={"start": 5, "stop": -2, "step": -2, "dtype": int64, "device": CPU}),
        Call(inputs=(), attrs={"start": 0.0, "stop": 1.0, "step": 0.1, "dtype": float32, "device": CPU}),
        Call(inputs=(), attrs={"start": 2, "stop": 2, "step": 1, "dtype": float32, "device": CPU}),
    ]


ARANGE = register_op(Op(name="arange", infer=_arange_infer, calls=_arange_calls))


def _linspace_infer(*, start: float, stop: float, num: int, dtype: DType, device: Device) -> TensorType:
    return tensor_type((num,), dtype, device=device)


def _linspace_calls() -> list[Call]:
    return [
        Call(inputs=(), attrs={"start": -1.0, "stop": 1.0, "num": 5, "dtype": float32, "device": CPU}),
        Call(inputs=(), attrs={"start": 3.0, "stop": 4.0, "num": 1, "dtype": float32, "device": CPU}),
        Call(inputs=(), attrs={"start": 3.0, "stop": 4.0, "num": 0, "dtype": float32, "device": CPU}),
    ]


LINSPACE = register_op(Op(name="linspace", infer=_linspace_infer, calls=_linspace_calls))
