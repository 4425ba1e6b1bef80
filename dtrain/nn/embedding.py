"""Rows of a table by number."""

from __future__ import annotations

import dtrain.functional as F
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.nn import init
from dtrain.nn.module import Module


class Embedding(Module):
    """weight[index] for integer indices of any shape: […] to […, embedding_dim].

    weight[num_embeddings, embedding_dim] begins standard normal; the row of `padding_idx` as zeros, and it gets no
    gradient.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter(zeros((num_embeddings, embedding_dim)))
        init.normal_(self.weight)
        if padding_idx is not None:
            self.weight.array[padding_idx] = 0

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, padding_idx={self.padding_idx}"
