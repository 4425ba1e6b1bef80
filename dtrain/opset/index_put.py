"""Facts of the ops behind `ops/index_put.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.indexing import BasicIndex, infer_get_item, picked_shape
from dtrain.opset.infer import broadcast_shapes

# Basic index ----------------------------------------------------------------------------------------------------------


def infer_set_item(x: TensorType, values: TensorType, *, index: BasicIndex) -> TensorType:
    target = infer_get_item(x, index=index).shape
    if broadcast_shapes("set_item", values.shape, target) != target:
        raise ShapeError(expected("set_item", f"values that broadcast to {target}", str(values)))
    return x


SET_ITEM = register_op(
    Op(
        name="set_item",
        infer=infer_set_item,
        grad_reads="none",
        promotes=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((4, 5), (5,)), attrs={"index": ((None, None, 2),)}),
            Call(inputs=((4, 5), ()), attrs={"index": (1, (0, 2, 1))}),
        ],
    )
)


# Tensor index ---------------------------------------------------------------------------------------------------------


def _infer_index_put(
    x: TensorType, values: TensorType, *indices: TensorType, axes: tuple[int, ...], accumulate: bool
) -> TensorType:
    target = picked_shape("index_put", x.shape, indices, axes)
    if values.dtype is not x.dtype or broadcast_shapes("index_put", values.shape, target) != target:
        raise ShapeError(expected("index_put", f"{x.dtype.tag} values that broadcast to {target}", str(values)))
    return x


_ROWS = np.array([2, 0, -1, 2])

INDEX_PUT = register_op(
    Op(
        name="index_put",
        infer=_infer_index_put,
        grad_reads="others",
        dtypes=ALL,
        checks=True,
        calls=lambda: [
            Call(inputs=((3, 4), (4, 4), _ROWS), attrs={"axes": (0,), "accumulate": False}),
            Call(inputs=((3, 4), (4,), _ROWS), attrs={"axes": (0,), "accumulate": True}),
            Call(inputs=((3, 2, 3), (4, 2), _ROWS, _ROWS), attrs={"axes": (0, 2), "accumulate": True}),
            Call(inputs=((3, 2, 3), (), _ROWS, _ROWS), attrs={"axes": (0, 2), "accumulate": False}),
        ],
    )
)
