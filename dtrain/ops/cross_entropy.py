"""Losses of class scores: cross entropy of logits, and negative log likelihood of log-probabilities.

Shapes: scores [N,C], [N,C,d…] with a prediction at every position, or [C] of one sample; class numbers without the C.
"""

from __future__ import annotations

from dtrain.base.dtype import int32, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.apply import apply, apply_tuple, cast
from dtrain.core.tensor import Tensor
from dtrain.ops.gather_scatter import gather
from dtrain.ops.loss_reduction import check_reduction, check_shapes, reduced
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.shape import reshape, transpose
from dtrain.ops.softmax import log_softmax
from dtrain.ops.value_checks import in_range
from dtrain.ops.where import where
from dtrain.opset.indexing import TAKE
from dtrain.opset.softmax_cross_entropy import SOFTMAX_CROSS_ENTROPY


@rounded_once
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−Σ q · log softmax(logits) a sample, q the smoothed target (1 − ε) · onehot + ε/C.

    Args:
        logits: [N,C], [N,C,d…] with a prediction at every position, or [C].
        targets: class numbers, [N], [N,d…] or []; or probabilities of the shape of logits.
        weight: [C], multiplies the term of each class; the mean is then weighted by that of each sample's class.
        label_smoothing: ε in [0, 1].
        ignore_index: samples with this target count neither in the sum nor in the mean; 0 where nothing else is left.
            Among probabilities no class can be left out, and a number below 0, which names none, changes nothing.
        reduction: mean, sum, or none for one loss a sample.

    Raises ValueError for a class number outside [0, C): at once, or when a traced graph runs.

    >>> cross_entropy(tensor([[0.0, 0.0]]), tensor([1]))
    Tensor(0.6931472, f32[]@cpu)
    """
    check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(expected("cross_entropy", "label_smoothing in [0, 1]", str(label_smoothing)))
    if weight is not None:
        _check_weight("cross_entropy", logits, weight)
    if targets.dtype.is_floating:
        if ignore_index is not None and ignore_index >= 0:
            advice = "give class numbers, or rows of zeros"
            raise ValueError(expected("cross_entropy", "class numbers beside ignore_index", str(targets.type), advice))
        return _dense_cross_entropy(logits, targets, weight, label_smoothing, reduction)
    rows, labels = _as_rows("cross_entropy", logits, targets)
    labels, keep = _kept(labels, ignore_index)
    if weight is None:
        losses = apply_tuple(SOFTMAX_CROSS_ENTROPY, rows, labels, label_smoothing=float(label_smoothing))[0]
        return _averaged(losses, None, keep, targets, reduction)
    losses = apply_tuple(SOFTMAX_CROSS_ENTROPY, rows, labels, label_smoothing=0.0)[0]
    shares = _of_classes(weight, labels)
    losses = losses * shares
    if label_smoothing:
        spread_out = -sum_over(log_softmax(rows, 1) * weight, 1) * (label_smoothing / rows.shape[1])
        losses = losses * (1 - label_smoothing) + spread_out
    return _averaged(losses, shares, keep, targets, reduction)


@rounded_once
def nll_loss(
    log_probabilities: Tensor,
    targets: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−log_probabilities[n, target[n]]: cross entropy after `log_softmax`. Shapes and arguments as there.

    Raises ValueError for a class number outside [0, C): at once, or when a traced graph runs.
    """
    check_reduction("nll_loss", reduction)
    rows, labels = _as_rows("nll_loss", log_probabilities, targets)
    labels, keep = _kept(labels, ignore_index)
    labels = in_range(labels, rows.shape[1], where="nll_loss", what="targets")
    losses = -reshape(gather(rows, 1, reshape(labels, (labels.size, 1))), (labels.size,))
    shares = None
    if weight is not None:
        _check_weight("nll_loss", log_probabilities, weight)
        shares = _of_classes(weight, labels)
        losses = losses * shares
    return _averaged(losses, shares, keep, targets, reduction)


def _check_weight(op: str, scores: Tensor, weight: Tensor) -> None:
    classes = scores.shape[min(1, scores.ndim - 1)] if scores.ndim else 0
    if weight.shape != (classes,):
        raise ShapeError(expected(op, f"a weight a class, [{classes}]", str(weight.type)))


def _of_classes(weight: Tensor, labels: Tensor) -> Tensor:
    return apply(TAKE, weight, labels, axes=(0,))


def _kept(labels: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor | None]:
    """Labels that name a class everywhere, and which samples count, None for all."""
    if ignore_index is None:
        return labels, None
    keep = labels != ignore_index
    return where(keep, labels, 0), keep


def _averaged(losses: Tensor, shares: Tensor | None, keep: Tensor | None, targets: Tensor, reduction: str) -> Tensor:
    """The losses [M] reduced; `shares` are the samples' weights in the mean."""
    if keep is not None:
        losses = where(keep, losses, 0.0)
    if reduction == "none":
        return reshape(losses, targets.shape)
    if reduction == "sum" or (shares is None and keep is None):
        return reduced(losses, reduction)
    if shares is None:
        assert keep is not None
        shares = cast(keep, losses.dtype)
    elif keep is not None:
        shares = where(keep, shares, 0.0)
    total = sum_over(shares)
    if keep is not None:
        total = where(total == 0, 1.0, total)
    return sum_over(losses) / total


def _as_rows(op: str, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """[N,C,d…] and [N,d…], or [C] and [], as [M,C] and [M] of s32 or s64."""
    if targets.dtype.is_floating or targets.dtype.kind == "bool":
        raise DtypeError(expected(op, "class numbers of integers", str(targets.type), "cast with .to('s64')"))
    if targets.dtype not in (int32, int64):
        targets = cast(targets, int64)
    if scores.ndim == 1 and targets.ndim == 0:
        return reshape(scores, (1, scores.shape[0])), reshape(targets, (1,))
    if scores.ndim < 2 or targets.shape != (scores.shape[0], *scores.shape[2:]):
        given = f"{scores.type} and {targets.type}"
        raise ShapeError(expected(op, "scores [N,C,d…] and class numbers [N,d…]", given, "put the classes on axis 1"))
    if scores.ndim == 2:
        return scores, targets
    last = transpose(scores, (0, *range(2, scores.ndim), 1))
    return reshape(last, (targets.size, scores.shape[1])), reshape(targets, (targets.size,))


def _dense_cross_entropy(
    logits: Tensor, targets: Tensor, weight: Tensor | None, label_smoothing: float, reduction: str
) -> Tensor:
    check_shapes("cross_entropy", logits, targets)
    axis = min(1, logits.ndim - 1)
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / logits.shape[axis]
    terms = targets * log_softmax(logits, axis)
    if weight is not None:
        terms = terms * reshape(weight, (-1, *(1,) * (logits.ndim - axis - 1)))
    losses = -sum_over(terms, axis)
    return reduced(losses, reduction)
