"""Facts of the ops behind `ops/linear.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import floating


def _infer(x: TensorType, weight: TensorType, *bias: TensorType) -> TensorType:
    floating("linear", x)
    if x.ndim < 1 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        wanted = "x[..., in] and weight[out, in]"
        advice = "the last axis of x must have the layer's in_features; flatten or transpose it"
        raise ShapeError(expected("linear", wanted, f"{x} and {weight}", advice))
    if bias and bias[0].shape != weight.shape[:1]:
        raise ShapeError(expected("linear", f"a bias of shape {weight.shape[:1]}", str(bias[0])))
    return x.with_(shape=(*x.shape[:-1], weight.shape[0]))


def _calls() -> list[Call]:
    return [
        Call(inputs=((3, 4), (5, 4), (5,))),
        Call(inputs=((3, 4), (5, 4))),
        Call(inputs=((2, 3, 4), (5, 4), (5,))),
        Call(inputs=((4,), (5, 4), (5,))),
        Call(inputs=((0, 4), (5, 4), (5,))),
    ]


LINEAR = register_op(Op(name="linear", infer=_infer, promotes=True, calls=_calls, grad_reads="others"))
