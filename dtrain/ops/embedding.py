"""Rows of a table by number, and the gradient that adds rows up in a fixed order."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.ops.infer import expect_ndim


def _check_indices(op: str, indices: TensorType) -> None:
    if not indices.dtype.is_integer:
        raise DtypeError(expected(op, "row numbers of integers", str(indices), "cast with .to('s64')"))


def _infer(indices: TensorType, weight: TensorType, *, padding_index: int | None) -> TensorType:
    _check_indices("embedding", indices)
    expect_ndim("embedding", weight, 2)
    return weight.with_(shape=(*indices.shape, weight.shape[1]))


def _grad(node: TapeNode, grad: Tensor) -> tuple[None, Tensor]:
    indices, weight = node.inputs
    padding_index = node.attrs["padding_index"]
    return None, apply(BACKWARD, indices, grad, num_embeddings=weight.shape[0], padding_index=padding_index)


_ROWS = np.array([[1, 0, 3], [3, 3, 1]])

EMBEDDING = register_op(
    Op(
        name="embedding",
        infer=_infer,
        grad=_grad,
        dtypes=ALL,
        beside=(0,),
        checks=True,
        calls=lambda: [
            Call(inputs=(_ROWS, (4, 5)), attrs={"padding_index": None}),
            Call(inputs=(np.array(2), (4, 5)), attrs={"padding_index": None}),
            Call(inputs=(np.zeros((0,), dtype=np.int32), (4, 5)), attrs={"padding_index": None}),
            # The gradient leaves out row 3 on purpose, so it is not the numeric one.
            Call(inputs=(_ROWS, (4, 5)), attrs={"padding_index": 3}, tags=("no gradient",)),
        ],
    )
)


def _infer_backward(
    indices: TensorType, grad: TensorType, *, num_embeddings: int, padding_index: int | None
) -> TensorType:
    _check_indices("embedding_backward", indices)
    if grad.shape[:-1] != indices.shape:
        raise ShapeError(expected("embedding_backward", "a gradient for each row number", f"{grad} for {indices}"))
    return grad.with_(shape=(num_embeddings, grad.shape[-1]))


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


BACKWARD = register_op(
    Op(
        name="embedding_backward",
        infer=_infer_backward,
        grad=_grad_backward,
        beside=(0,),
        checks=True,
        calls=lambda: [
            Call(inputs=(_ROWS, (2, 3, 5)), attrs={"num_embeddings": 4, "padding_index": None}),
            Call(inputs=(_ROWS, (2, 3, 5)), attrs={"num_embeddings": 4, "padding_index": 3}),
        ],
    )
)


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
