"""Rows of a table by number, and the gradient that adds rows up in a fixed order."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.graph.op import gradient_of
from dtrain.opset.embedding import BACKWARD, EMBEDDING


@gradient_of(EMBEDDING)
def _grad(node: TapeNode, grad: Tensor) -> tuple[None, Tensor]:
    indices, weight = node.inputs
    padding_index = node.attrs["padding_index"]
    return None, apply(BACKWARD, indices, grad, num_embeddings=weight.shape[0], padding_index=padding_index)


@gradient_of(BACKWARD)
def _grad_backward(node: TapeNode, grad: Tensor) -> tuple[None, Tensor]:
    """Rows are picked; those of the padding row had no part in the sum."""
    indices = node.inputs[0]
    picked = apply(EMBEDDING, indices, grad, padding_index=None)
    padding_index = node.attrs["padding_index"]
    if padding_index is None:
        return None, picked
    from dtrain.core.apply import cast
    from dtrain.ops.shape import unsqueeze

    return None, picked * unsqueeze(cast(indices != padding_index, grad.dtype), -1)


def embedding(indices: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row indices[…] of weight[V,D]: the result is [..., D].

    Args:
        indices: integers in [0, V).
        padding_idx: a row that gets no gradient; negative counts from the end.

    Raises:
        ValueError: for a number out of range.
    """
    indices = as_tensor(indices)
    if padding_idx is not None:
        if not -weight.shape[0] <= padding_idx < weight.shape[0]:
            raise ShapeError(expected("embedding", f"padding_idx among {weight.shape[0]} rows", str(padding_idx)))
        padding_idx %= weight.shape[0]
    return apply(EMBEDDING, indices, weight, padding_index=padding_idx)
