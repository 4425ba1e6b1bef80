"""Rows of a table by number."""

from __future__ import annotations

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import zeros
from dtrain.nn import init
from dtrain.nn.module import Module
from dtrain.opset.infer import as_int


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
            if not -num_embeddings <= as_int("Embedding", "padding_idx", padding_idx) < num_embeddings:
                wanted = f"padding_idx in [{-num_embeddings}, {num_embeddings})"
                raise ValueError(expected("Embedding", wanted, str(padding_idx)))
            self.weight.array[padding_idx] = 0

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, padding_idx={self.padding_idx}"
