"""Facts of the ops behind `ops/embedding.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import expect_ndim


def _check_indices(op: str, indices: TensorType) -> None:
    if not indices.dtype.is_integer:
        raise DtypeError(expected(op, "row numbers of integers", str(indices), "cast with .to('s64')"))


def _infer(indices: TensorType, weight: TensorType, *, padding_index: int | None) -> TensorType:
    _check_indices("embedding", indices)
    expect_ndim("embedding", weight, 2)
    return weight.with_(shape=(*indices.shape, weight.shape[1]))


_ROWS = np.array([[1, 0, 3], [3, 3, 1]])

EMBEDDING = register_op(
    Op(
        name="embedding",
        infer=_infer,
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


BACKWARD = register_op(
    Op(
        name="embedding_backward",
        infer=_infer_backward,
        beside=(0,),
        checks=True,
        calls=lambda: [
            Call(inputs=(_ROWS, (2, 3, 5)), attrs={"num_embeddings": 4, "padding_index": None}),
            Call(inputs=(_ROWS, (2, 3, 5)), attrs={"num_embeddings": 4, "padding_index": 3}),
        ],
    )
)
