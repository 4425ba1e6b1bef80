"""Facts of the ops behind `ops/softmax_cross_entropy.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import int32, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, Typed, large
from dtrain.opset.infer import floating


def _check(op: str, logits: TensorType, targets: TensorType) -> None:
    floating(op, logits)
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise ShapeError(expected(op, "logits [N,C] and class numbers [N]", f"{logits} and {targets}"))
    if targets.dtype not in (int32, int64):
        raise DtypeError(expected(op, "class numbers of dtype s32 or s64", str(targets), "cast with .to('s64')"))


def _infer(logits: TensorType, targets: TensorType, *, label_smoothing: float) -> tuple[TensorType, TensorType]:
    _check("softmax_cross_entropy", logits, targets)
    return logits.with_(shape=logits.shape[:1]), logits


_TARGETS = np.array([2, 0, 4])


# Rows and classes that benchmarks time.
_LARGE = ((64, 10), (256, 1000))


def _calls() -> list[Call]:
    timed = [large(f"{n}x{c}", (n, c), Typed((n,), "int64", c), label_smoothing=0.1) for n, c in _LARGE]
    return [
        Call(inputs=((3, 5), _TARGETS), attrs={"label_smoothing": 0.0}),
        Call(inputs=((3, 5), _TARGETS.astype(np.int32)), attrs={"label_smoothing": 0.1}),
        Call(inputs=((0, 5), _TARGETS[:0]), attrs={"label_smoothing": 0.0}),
        Call(inputs=((3, 17), _TARGETS), attrs={"label_smoothing": 0.0}),
        *timed,
    ]


SOFTMAX_CROSS_ENTROPY = register_op(
    Op(
        name="softmax_cross_entropy",
        infer=_infer,
        calls=_calls,
        saves_outputs=(1,),
        partial_grads=True,
        beside=(1,),
        checks=True,
    )
)


def _backward_infer(
    grad: TensorType, probabilities: TensorType, targets: TensorType, *, label_smoothing: float
) -> TensorType:
    _check("softmax_cross_entropy_backward", probabilities, targets)
    return probabilities


def _backward_calls() -> list[Call]:
    timed = [large(f"{n}x{c}", (n,), (n, c), Typed((n,), "int64", c), label_smoothing=0.1) for n, c in _LARGE]
    return [
        Call(inputs=((3,), (3, 5), _TARGETS), attrs={"label_smoothing": 0.0}),
        Call(inputs=((3,), (3, 5), _TARGETS.astype(np.int32)), attrs={"label_smoothing": 0.1}),
        Call(inputs=((0,), (0, 5), _TARGETS[:0]), attrs={"label_smoothing": 0.0}),
        *timed,
    ]


BACKWARD = register_op(
    Op(
        name="softmax_cross_entropy_backward",
        infer=_backward_infer,
        calls=_backward_calls,
        beside=(2,),
    )
)
