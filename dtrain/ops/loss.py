"""Losses. Each has `reduction` "mean", "sum" or "none"; the mean over no samples is NaN, with an empty gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.dtype import int32, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply, apply_tuple, cast
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import arange
from dtrain.graph.op import Op, Sample, register_op
from dtrain.ops.activation import relu, softplus
from dtrain.ops.clip import clip
from dtrain.ops.elementwise import abs, log, square
from dtrain.ops.infer import floating
from dtrain.ops.reduction import MEAN, spread
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.shape import reshape, transpose
from dtrain.ops.softmax import SOFTMAX_BACKWARD, log_softmax
from dtrain.ops.statistics import norm
from dtrain.ops.where import where

REDUCTIONS = ("mean", "sum", "none")


# Softmax and cross entropy in one -------------------------------------------------------------------------------------


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


def _samples() -> list[Sample]:
    return [
        Sample(inputs=((3, 5), _TARGETS), attrs={"label_smoothing": 0.0}),
        Sample(inputs=((3, 5), _TARGETS.astype(np.int32)), attrs={"label_smoothing": 0.1}),
        Sample(inputs=((0, 5), _TARGETS[:0]), attrs={"label_smoothing": 0.0}),
        Sample(inputs=((3, 17), _TARGETS), attrs={"label_smoothing": 0.0}),
    ]


SOFTMAX_CROSS_ENTROPY = register_op(
    Op(
        name="softmax_cross_entropy",
        infer=_infer,
        grad=_grad,
        samples=_samples,
        saves_outputs=True,
        partial_grads=True,
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


def _backward_samples() -> list[Sample]:
    return [
        Sample(inputs=((3,), (3, 5), _TARGETS), attrs={"label_smoothing": 0.0}),
        Sample(inputs=((3,), (3, 5), _TARGETS.astype(np.int32)), attrs={"label_smoothing": 0.1}),
        Sample(inputs=((0,), (0, 5), _TARGETS[:0]), attrs={"label_smoothing": 0.0}),
    ]


BACKWARD = register_op(
    Op(
        name="softmax_cross_entropy_backward",
        infer=_backward_infer,
        grad=_backward_grad,
        samples=_backward_samples,
    )
)


def _one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """[N,C] ones where the column is the row's target, in the dtype of `like`."""
    classes = arange(like.shape[1], dtype=targets.dtype, device=like.device)
    return cast(spread(targets, (1,), like.shape) == classes, like.dtype)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−Σ q · log softmax(logits) a sample, q the smoothed target (1 − ε) · onehot + ε/C.

    Args:
        logits: [N,C], or [N,C,d…] with a prediction at every position.
        targets: class numbers of dtype s32 or s64, [N] or [N,d…]; or probabilities of the shape of logits.
        label_smoothing: ε in [0, 1].
        ignore_index: samples with this target count neither in the sum nor in the mean; 0 where nothing else is left.
        reduction: mean, sum, or none for one loss a sample.

    Raises ValueError for a class number outside [0, C): at once, or when a traced graph runs.

    >>> cross_entropy(tensor([[0.0, 0.0]]), tensor([1]))
    Tensor(0.6931472, f32[]@cpu)
    """
    _check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(expected("cross_entropy", "label_smoothing in [0, 1]", str(label_smoothing)))
    if targets.dtype.is_floating:
        return _dense_cross_entropy(logits, targets, label_smoothing, reduction)
    if targets.dtype not in (int32, int64):
        targets = cast(targets, int64)
    rows, labels = _as_rows("cross_entropy", logits, targets)
    if ignore_index is not None:
        keep = labels != ignore_index
        labels = where(keep, labels, 0)
    losses = apply_tuple(SOFTMAX_CROSS_ENTROPY, rows, labels, label_smoothing=float(label_smoothing))[0]
    if ignore_index is not None:
        losses = where(keep, losses, 0.0)
        if reduction == "mean":
            count = sum_over(cast(keep, losses.dtype))
            return sum_over(losses) / where(count == 0, 1.0, count)
    return _reduced(losses, reduction) if reduction != "none" else reshape(losses, targets.shape)


def _as_rows(op: str, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """[N,C,d…] and [N,d…] as [M,C] and [M]."""
    if scores.ndim < 2 or targets.shape != (scores.shape[0], *scores.shape[2:]):
        given = f"{scores.type} and {targets.type}"
        raise ShapeError(expected(op, "scores [N,C,d…] and class numbers [N,d…]", given, "put the classes on axis 1"))
    if scores.ndim == 2:
        return scores, targets
    last = transpose(scores, (0, *range(2, scores.ndim), 1))
    return reshape(last, (targets.size, scores.shape[1])), reshape(targets, (targets.size,))


def _dense_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float, reduction: str) -> Tensor:
    _check_shapes("cross_entropy", logits, targets)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return _reduced(-sum_over(targets * log_softmax(logits, 1), 1), reduction)


def nll_loss(log_probabilities: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """−log_probabilities[n, target[n]]: cross entropy after `log_softmax`. Shapes as in `cross_entropy`.

    Raises ValueError for a class number outside [0, C), except in a traced function, where its loss is 0.
    """
    _check_reduction("nll_loss", reduction)
    rows, labels = _as_rows("nll_loss", log_probabilities, targets)
    classes = rows.shape[1]
    if not labels.is_symbolic and labels.size:
        numbers = labels.numpy()
        if numbers.min() < 0 or numbers.max() >= classes:
            given = f"from {numbers.min()} to {numbers.max()}"
            raise ValueError(expected("nll_loss", f"targets from 0 to {classes - 1}", given, "check the labels"))
    losses = -sum_over(where(_one_hot(labels, rows) != 0, rows, 0.0), 1)
    return _reduced(losses, reduction) if reduction != "none" else reshape(losses, targets.shape)


# Losses between equal shapes ------------------------------------------------------------------------------------------


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(expected(op, "reduction " + ", ".join(REDUCTIONS), repr(reduction)))


def _check_shapes(op: str, prediction: Tensor, target: Any) -> None:
    # Broadcasting [N] against [N,1] gives [N,N] and a loss that means nothing.
    if isinstance(target, Tensor) and target.shape != prediction.shape:
        given = f"{prediction.type} and {target.type}"
        raise ShapeError(expected(op, "prediction and target of one shape", given, "reshape one of them"))


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum_over(losses)
    return apply(MEAN, losses, axis=tuple(range(losses.ndim)), keepdims=False)


def _checked(op: str, prediction: Tensor, target: Any, reduction: str) -> None:
    _check_reduction(op, reduction)
    _check_shapes(op, prediction, target)


def mse_loss(prediction: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(prediction − target)².

    >>> mse_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    Tensor(2., f32[]@cpu)
    """
    _checked("mse_loss", prediction, target, reduction)
    return _reduced(square(prediction - target), reduction)


def l1_loss(prediction: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """|prediction − target|.

    >>> l1_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    Tensor(1., f32[]@cpu)
    """
    _checked("l1_loss", prediction, target, reduction)
    return _reduced(abs(prediction - target), reduction)


def smooth_l1_loss(prediction: Tensor, target: Tensor, *, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """d² / (2·beta) for d = |prediction − target| below beta, then d − beta/2."""
    _checked("smooth_l1_loss", prediction, target, reduction)
    if beta <= 0:
        raise ValueError(expected("smooth_l1_loss", "a positive beta", str(beta), "use l1_loss for 0"))
    distance = abs(prediction - target)
    losses = where(distance < beta, square(distance) * (0.5 / beta), distance - 0.5 * beta)
    return _reduced(losses, reduction)


def binary_cross_entropy(prediction: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """−t·log(p) − (1 − t)·log(1 − p) for probabilities p; log(0) counts as the log of the smallest normal number.

    After a sigmoid, `binary_cross_entropy_with_logits` is exact where this one saturates.
    """
    _checked("binary_cross_entropy", prediction, target, reduction)
    least = float(np.finfo(np.float32).tiny) if prediction.dtype.tag != "f16" else float(np.finfo(np.float16).tiny)
    positive, negative = log(clip(prediction, least)), log(clip(1 - prediction, least))
    return _reduced(-(target * positive + (1 - target) * negative), reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, *, pos_weight: Tensor | float | None = None, reduction: str = "mean"
) -> Tensor:
    """Binary cross entropy of sigmoid(logits), without overflow; `pos_weight` multiplies the positive term."""
    _checked("binary_cross_entropy_with_logits", logits, target, reduction)
    if pos_weight is None:
        return _reduced(softplus(logits) - logits * target, reduction)
    weight = (pos_weight - 1) * target + 1
    return _reduced((1 - target) * logits + weight * softplus(-logits), reduction)


def hinge_loss(prediction: Tensor, target: Tensor, *, norm: str = "L1", reduction: str = "mean") -> Tensor:
    """max(0, 1 − t·p) for targets of ±1; squared with norm "L2"."""
    _checked("hinge_loss", prediction, target, reduction)
    if norm not in ("L1", "L2"):
        raise ValueError(expected("hinge_loss", "norm 'L1' or 'L2'", repr(norm)))
    margins = relu(1 - prediction * target)
    return _reduced(margins if norm == "L1" else square(margins), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float = 1.0, p: float = 2, reduction: str = "mean"
) -> Tensor:
    """max(0, |anchor − positive| − |anchor − negative| + margin), |·| the p-norm over the last axis."""
    _checked("triplet_margin_loss", anchor, positive, reduction)
    _check_shapes("triplet_margin_loss", anchor, negative)
    near, far = norm(anchor - positive, p, -1), norm(anchor - negative, p, -1)
    return _reduced(relu(near - far + margin), reduction)
