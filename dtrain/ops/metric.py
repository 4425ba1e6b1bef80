"""How good predictions are, without a gradient."""

from __future__ import annotations

from dtrain.base.dtype import float32
from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor
from dtrain.ops.reduction import any as any_over
from dtrain.ops.reduction import mean, spread
from dtrain.ops.sorting import topk


def topk_accuracy(scores: Tensor, targets: Tensor, k: int = 1) -> Tensor:
    """The share of rows of scores[N,C] whose target[N] is among the k best classes; f32, NaN for no rows.

    >>> topk_accuracy(tensor([[0.1, 0.9], [0.8, 0.2]]), tensor([1, 1]))
    Tensor(0.5, f32[]@cpu)
    """
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or not 1 <= k <= scores.shape[1]:
        given = f"{scores.type}, {targets.type} and k = {k}"
        raise ShapeError(expected("topk_accuracy", "scores [N,C], targets [N] and k from 1 to C", given))
    best = topk(scores.detach(), k, axis=1)[1]
    hits = any_over(best == spread(targets, (1,), best.shape), 1)
    return mean(cast(hits, float32))


def accuracy(scores: Tensor, targets: Tensor) -> Tensor:
    """The share of rows of scores[N,C] whose largest score is that of target[N]; f32."""
    return topk_accuracy(scores, targets, 1)
