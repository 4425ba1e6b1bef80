"""Softmax and cross entropy in one op, and the gradient of it, for class numbers.

Shapes: logits[N,C], targets[N] class numbers (s32 or s64), losses[N]. What users call is in `cross_entropy.py`.
"""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import int32, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import arange
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, Typed, large
from dtrain.ops.infer import floating
from dtrain.ops.reduction import spread
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.softmax import SOFTMAX_BACKWARD


def _check(op: str, logits: TensorType, targets: TensorType) -> None:
    floating(op, logits)
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise ShapeError(expected(op, "logits [N,C] and class numbers [N]", f"{logits} and {targets}"))
    if targets.dtype not in (int32, int64):
        raise DtypeError(expected(op, "class numbers of dtype s32 or s64", str(targets), "cast with .to('s64')"))


def _infer(logits: TensorType, targets: TensorType, *, label_smoothing: float) -> tuple[TensorType, TensorType]:
    _check("softmax_cross_entropy", logits, targets)
    return logits.with_(shape=logits.shape[:1]), logits


def _grad(node: TapeNode, grad: Tensor | None, probabilities_grad: Tensor | None) -> tuple[Tensor | None, None]:
    targets, probabilities = node.inputs[1], node.outputs[1]
    total = None if grad is None else apply(BACKWARD, grad, probabilities, targets, **node.attrs)
    if probabilities_grad is not None:
        through = apply(SOFTMAX_BACKWARD, probabilities_grad, probabilities, axis=1)
        total = through if total is None else total + through
    return total, None


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
        grad=_grad,
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


def _backward_grad(node: TapeNode, next_grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """dlogits = grad · (probabilities − q), linear in both."""
    grad, probabilities, targets = node.inputs
    smoothing: float = node.attrs["label_smoothing"]
    classes = probabilities.shape[1]
    smoothed = _one_hot(targets, probabilities) * (1 - smoothing) + smoothing / max(classes, 1)
    towards_grad = sum_over(next_grad * (probabilities - smoothed), 1)
    return towards_grad, next_grad * spread(grad, (1,), probabilities.shape), None


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
        grad=_backward_grad,
        calls=_backward_calls,
        beside=(2,),
    )
)


def _one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """[N,C] ones where the column is the row's target, in the dtype of `like`."""
    classes = arange(like.shape[1], dtype=targets.dtype, device=like.device)
    return cast(spread(targets, (1,), like.shape) == classes, like.dtype)
