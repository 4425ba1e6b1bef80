"""The cosine of the angle between vectors."""

from __future__ import annotations

from dtrain.core.tensor import Tensor
from dtrain.ops.binary import maximum
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.shape import broadcast_to
from dtrain.ops.statistics import root
from dtrain.opset.infer import broadcast_shapes


@rounded_once
def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, *, eps: float = 1e-8) -> Tensor:
    """a·b / (max(‖a‖, eps) · max(‖b‖, eps)) along an axis of both, broadcast: length 1 along it counts as often."""
    shape = broadcast_shapes("cosine_similarity", a.shape, b.shape)
    a, b = broadcast_to(a, shape), broadcast_to(b, shape)
    norms = [maximum(root(sum_over(x * x, axis)), eps) for x in (a, b)]
    return sum_over(a * b, axis) / (norms[0] * norms[1])
