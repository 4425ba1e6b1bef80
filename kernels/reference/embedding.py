"""References of embedding and its gradient."""

from __future__ import annotations

from dtrain.kernels.array_module import Array
from dtrain.kernels.reference.check_range import check_range
from dtrain.kernels.reference.indexing import take_backward
from dtrain.kernels.registry import reference


@reference("embedding")
def embedding(indices: Array, weight: Array, out: Array, *, padding_index: int | None) -> None:
    """Row indices[…] of weight[V,D]. Raises ValueError for a number out of range."""
    check_range("embedding", indices, 0, weight.shape[0])
    out[...] = weight[indices]


@reference("embedding_backward")
def embedding_backward(
    indices: Array, grad: Array, out: Array, *, num_embeddings: int, padding_index: int | None
) -> None:
    """Σ of the gradients of each row, in a fixed order; 0 for the padding row. Raises ValueError out of range."""
    check_range("embedding_backward", indices, 0, num_embeddings)
    take_backward(grad, indices, out=out, input_shape=(num_embeddings, grad.shape[-1]), axes=(0,))
    if padding_index is not None:
        out[padding_index] = 0
