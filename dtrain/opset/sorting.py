"""Facts of the ops behind `ops/sorting.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import normalize_axis


def expect_axis(op: str, x: TensorType, axis: int) -> None:
    if x.ndim == 0:
        raise ShapeError(expected(op, "a tensor of at least 1 axis", str(x)))
    normalize_axis(op, axis, x.ndim)


# Sort -----------------------------------------------------------------------------------------------------------------


def _infer_sort(x: TensorType, *, axis: int, descending: bool) -> tuple[TensorType, TensorType]:
    expect_axis("sort", x, axis)
    return x, x.with_(dtype=int64)


SORT = register_op(
    Op(
        name="sort",
        infer=_infer_sort,
        grad_reads="none",
        saves_outputs=(1,),
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 7),), attrs={"axis": 1, "descending": False}),
            Call(inputs=((5, 2, 2),), attrs={"axis": 0, "descending": True}),
            Call(inputs=((2, 0),), attrs={"axis": 1, "descending": True}),
        ],
    )
)


# Top k ----------------------------------------------------------------------------------------------------------------


def _infer_topk(x: TensorType, *, k: int, axis: int, largest: bool, sorted: bool) -> tuple[TensorType, TensorType]:
    expect_axis("topk", x, axis)
    if k > x.shape[axis]:
        raise ShapeError(expected("topk", f"k of at most {x.shape[axis]}, the size of axis {axis} of {x}", str(k)))
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return x.with_(shape=shape), x.with_(shape=shape, dtype=int64)


TOPK = register_op(
    Op(
        name="topk",
        infer=_infer_topk,
        grad_reads="none",
        saves_outputs=(1,),
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 7),), attrs={"k": 3, "axis": 1, "largest": True, "sorted": True}),
            Call(inputs=((5, 2),), attrs={"k": 2, "axis": 0, "largest": False, "sorted": True}),
            Call(inputs=((2, 6),), attrs={"k": 4, "axis": 1, "largest": True, "sorted": False}),
            Call(inputs=((0, 3),), attrs={"k": 1, "axis": 1, "largest": True, "sorted": True}),
        ],
    )
)


# Sizes that depend on values ------------------------------------------------------------------------------------------


def _infer_unique(x: TensorType, *, axis: int | None = None) -> tuple[TensorType, TensorType, TensorType]:
    if axis is not None:
        counted = x.with_(shape=(x.shape[normalize_axis("unique", axis, x.ndim)],), dtype=int64)
        return x, counted, counted
    counted = x.with_(shape=(x.size,), dtype=int64)
    return x.with_(shape=(x.size,)), x.with_(dtype=int64), counted


UNIQUE = register_op(
    Op(
        name="unique",
        infer=_infer_unique,
        dtypes=ALL,
        is_dynamic=True,
        calls=lambda: [
            Call(inputs=(np.array([[3, 1, 3], [2, 1, 1]]),)),
            Call(inputs=(np.array([[3, 1, 3], [2, 1, 2]]),), attrs={"axis": 1}),
        ],
    )
)
