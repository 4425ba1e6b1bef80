"""Facts of the ops behind `ops/diagonal.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import broadcast_shapes, normalize_axis, same_dtype


def diagonal_shape(shape: Shape, offset: int, axis1: int, axis2: int) -> Shape:
    rows, columns = (shape[normalize_axis("diagonal", axis, len(shape))] for axis in (axis1, axis2))
    length = max(0, min(rows - max(-offset, 0), columns - max(offset, 0)))
    return (*(size for axis, size in enumerate(shape) if axis not in (axis1, axis2)), length)


def _infer_diagonal(x: TensorType, **where: int) -> TensorType:
    return x.with_(shape=diagonal_shape(x.shape, **where))


DIAGONAL = register_op(
    Op(
        name="diagonal",
        infer=_infer_diagonal,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 4),), attrs={"offset": 1, "axis1": 0, "axis2": 1}),
            Call(inputs=((4, 2, 3),), attrs={"offset": -1, "axis1": 0, "axis2": 2}),
            Call(inputs=((3, 2, 2),), attrs={"offset": 0, "axis1": 2, "axis2": 1}),
            Call(inputs=((2, 3),), attrs={"offset": 3, "axis1": 0, "axis2": 1}),
        ],
    )
)


def _infer_diagonal_scatter(x: TensorType, values: TensorType, **where: int) -> TensorType:
    same_dtype("diagonal_scatter", x, values)
    target = diagonal_shape(x.shape, **where)
    if broadcast_shapes("diagonal_scatter", values.shape, target) != target:
        raise ShapeError(expected("diagonal_scatter", f"values that broadcast to {target}", str(values)))
    return x


DIAGONAL_SCATTER = register_op(
    Op(
        name="diagonal_scatter",
        infer=_infer_diagonal_scatter,
        grad_reads="none",
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 4), (3,)), attrs={"offset": 1, "axis1": 0, "axis2": 1}),
            Call(inputs=((4, 2, 3), ()), attrs={"offset": -1, "axis1": 0, "axis2": 2}),
            Call(inputs=((2, 3), (0,)), attrs={"offset": -2, "axis1": 0, "axis2": 1}),
        ],
    )
)
