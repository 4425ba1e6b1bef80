"""Facts of the ops behind `ops/gather_scatter.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL, INTEGERS, DType, as_dtype, int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import normalize_axis, same_dtype


def check_index(op: str, x: TensorType, index: TensorType, axis: int) -> None:
    if not index.dtype.is_integer:
        raise DtypeError(expected(op, "an index of integers", str(index), "cast with .to('s64')"))
    if index.ndim != x.ndim:
        raise ShapeError(expected(op, f"an index of {x.ndim} axes for {x}", str(index)))
    if x.ndim:  # one without axes has one element, whatever the axis
        normalize_axis(op, axis, x.ndim)


# Gather ---------------------------------------------------------------------------------------------------------------


def _infer_gather(x: TensorType, index: TensorType, *, axis: int) -> TensorType:
    check_index("gather", x, index, axis)
    if any(i > size for k, (i, size) in enumerate(zip(index.shape, x.shape)) if k != axis):
        raise ShapeError(expected("gather", f"an index no larger than {x} but for axis {axis}", str(index)))
    return x.with_(shape=index.shape)


_INDEX = np.array([[2, 0, 2, 2], [1, 0, 0, 2]])


# No place twice: the numeric gradient sees each written value.
_DISTINCT = np.array([[2, 0, 1, 2], [1, 2, 0, 0]])

GATHER = register_op(
    Op(
        name="gather",
        infer=_infer_gather,
        checks=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 5), _INDEX), attrs={"axis": 0}),
            Call(inputs=((2, 3), _INDEX), attrs={"axis": 1}),
            Call(inputs=((2, 4, 3), _INDEX[..., None]), attrs={"axis": 2}),
            Call(inputs=((3, 2), np.zeros((0, 2), dtype=np.int64)), attrs={"axis": 0}),
        ],
    )
)


# Scatter --------------------------------------------------------------------------------------------------------------


def check_scatter(
    op: str, x: TensorType, index: TensorType, source: TensorType, *, axis: int, free_axis: int | None = None
) -> TensorType:
    """The type of x. Raises unless index and source fit it and each other."""
    check_index(op, x, index, axis)
    same_dtype(op, x, source)
    if index.shape != source.shape:
        raise ShapeError(expected(op, "index and source of one shape", f"{index} and {source}"))
    if any(part > size for k, (part, size) in enumerate(zip(source.shape, x.shape)) if k != free_axis):
        raise ShapeError(expected(op, f"a source no larger than {x}", str(source)))
    return x


def _infer_scatter(x: TensorType, index: TensorType, source: TensorType, *, axis: int) -> TensorType:
    return check_scatter("scatter", x, index, source, axis=axis)


SCATTER = register_op(
    Op(
        name="scatter",
        infer=_infer_scatter,
        checks=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 5), _DISTINCT, (2, 4)), attrs={"axis": 0}),
            Call(inputs=((2, 4), np.array([[3, 0], [1, 1]]), (2, 2)), attrs={"axis": 1}),
        ],
    )
)


def _infer_scatter_add(x: TensorType, index: TensorType, source: TensorType, *, axis: int) -> TensorType:
    return check_scatter("scatter_add", x, index, source, axis=axis, free_axis=axis)


SCATTER_ADD = register_op(
    Op(
        name="scatter_add",
        infer=_infer_scatter_add,
        grad_reads="others",
        checks=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 5), _INDEX, (2, 4)), attrs={"axis": 0}),
            Call(inputs=((2, 4), np.array([[3, 3], [1, 1]]), (2, 2)), attrs={"axis": 1}),
        ],
    )
)


# One hot --------------------------------------------------------------------------------------------------------------


def infer_one_hot(index: TensorType, *, num_classes: int, dtype: DType) -> TensorType:
    if not index.dtype.is_integer:
        raise DtypeError(expected("one_hot", "class numbers of integers", str(index)))
    return index.with_(shape=(*index.shape, num_classes), dtype=dtype)


ONE_HOT = register_op(
    Op(
        name="one_hot",
        infer=infer_one_hot,
        checks=True,
        dtypes=INTEGERS,
        calls=lambda: [
            Call(inputs=(np.array([2, 0, 1]),), attrs={"num_classes": 4, "dtype": int64}),
            Call(inputs=(np.array([[1], [0]], dtype=np.int32),), attrs={"num_classes": 2, "dtype": as_dtype("f32")}),
            Call(inputs=(np.zeros((0,), dtype=np.int64),), attrs={"num_classes": 3, "dtype": int64}),
        ],
    )
)
