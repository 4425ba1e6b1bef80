"""Layers that compare two batches of vectors."""

from __future__ import annotations

import dtrain.functional as F
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module
from dtrain.opset.infer import as_axis


class CosineSimilarity(Module):
    """The cosine of the angle between two tensors along an axis."""

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        self.axis, self.eps = as_axis(type(self).__name__, axis), eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a, b, self.axis, eps=self.eps)


class PairwiseDistance(Module):
    """The p-norm of the difference of two tensors along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> None:
        self.p, self.eps, self.keepdims = p, eps, keepdims

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.pairwise_distance(a, b, self.p, self.eps, self.keepdims)
