"""Ops behind the tensor factory: full, eye, arange, linspace. They have attributes and no inputs."""

from __future__ import annotations

from math import ceil

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import DType, float32, int64
from dtrain.base.tensor_type import Shape, TensorType, tensor_type
from dtrain.graph.op import Op, Sample, register_op


def _full_infer(*, shape: Shape, value: float, dtype: DType, device: Device) -> TensorType:
    return tensor_type(shape, dtype, device=device)


def _full_samples() -> list[Sample]:
    return [
        Sample(inputs=(), attrs={"shape": (2, 3), "value": 1.5, "dtype": float32, "device": CPU}),
        Sample(inputs=(), attrs={"shape": (), "value": -3, "dtype": int64, "device": CPU}),
        Sample(inputs=(), attrs={"shape": (0, 4), "value": 0, "dtype": float32, "device": CPU}),
    ]


FULL = register_op(Op(name="full", infer=_full_infer, samples=_full_samples))


def _eye_infer(*, n: int, m: int, dtype: DType, device: Device) -> TensorType:
    return tensor_type((n, m), dtype, device=device)


def _eye_samples() -> list[Sample]:
    return [
        Sample(inputs=(), attrs={"n": 3, "m": 5, "dtype": float32, "device": CPU}),
        Sample(inputs=(), attrs={"n": 4, "m": 2, "dtype": int64, "device": CPU}),
        Sample(inputs=(), attrs={"n": 0, "m": 2, "dtype": float32, "device": CPU}),
    ]


EYE = register_op(Op(name="eye", infer=_eye_infer, samples=_eye_samples))


def _arange_infer(*, start: float, stop: float, step: float, dtype: DType, device: Device) -> TensorType:
    return tensor_type((max(0, ceil((stop - start) / step)),), dtype, device=device)


def _arange_samples() -> list[Sample]:
    return [
        Sample(inputs=(), attrs={"start": 0, "stop": 7, "step": 1, "dtype": int64, "device": CPU}),
        Sample(inputs=(), attrs={"start": 5, "stop": -2, "step": -2, "dtype": int64, "device": CPU}),
        Sample(inputs=(), attrs={"start": 0.0, "stop": 1.0, "step": 0.1, "dtype": float32, "device": CPU}),
        Sample(inputs=(), attrs={"start": 2, "stop": 2, "step": 1, "dtype": float32, "device": CPU}),
    ]


ARANGE = register_op(Op(name="arange", infer=_arange_infer, samples=_arange_samples))


def _linspace_infer(*, start: float, stop: float, num: int, dtype: DType, device: Device) -> TensorType:
    return tensor_type((num,), dtype, device=device)


def _linspace_samples() -> list[Sample]:
    return [
        Sample(inputs=(), attrs={"start": -1.0, "stop": 1.0, "num": 5, "dtype": float32, "device": CPU}),
        Sample(inputs=(), attrs={"start": 3.0, "stop": 4.0, "num": 1, "dtype": float32, "device": CPU}),
        Sample(inputs=(), attrs={"start": 3.0, "stop": 4.0, "num": 0, "dtype": float32, "device": CPU}),
    ]


LINSPACE = register_op(Op(name="linspace", infer=_linspace_infer, samples=_linspace_samples))
