"""Facts of the ops behind `ops/indexing.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL, FLOATS, INTEGERS
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import broadcast_shapes, normalize_axes

# One entry of a basic index: an int, (start, stop, step), or None for a new axis. Hashable, unlike a slice.
Entry = int | tuple[int | None, int | None, int] | None

BasicIndex = tuple[Entry, ...]


# Basic index: a view --------------------------------------------------------------------------------------------------


def infer_get_item(x: TensorType, *, index: BasicIndex) -> TensorType:
    shape: list[int] = []
    sizes = iter(x.shape)
    for entry in index:
        if entry is None:
            shape.append(1)
        elif isinstance(entry, tuple):
            shape.append(len(range(*slice(*entry).indices(next(sizes)))))
        else:
            next(sizes)
    return x.with_(shape=(*shape, *sizes))


GET_ITEM = register_op(
    Op(
        name="get_item",
        infer=infer_get_item,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((4, 5),), attrs={"index": (1,)}),
            Call(inputs=((4, 5),), attrs={"index": ((None, None, -2), None, (1, 3, 1))}),
            Call(inputs=((4, 5),), attrs={"index": ((3, 1, 1),)}),
            Call(inputs=((3,),), attrs={"index": (-1,)}),
        ],
    )
)


def _infer_get_item_backward(grad: TensorType, *, input_shape: Shape, index: BasicIndex) -> TensorType:
    return grad.with_(shape=input_shape)


GET_ITEM_BACKWARD = register_op(
    Op(
        name="get_item_backward",
        infer=_infer_get_item_backward,
        grad_reads="none",
        calls=lambda: [
            Call(inputs=((5,),), attrs={"input_shape": (4, 5), "index": (1,)}),
            Call(inputs=((2, 1, 2),), attrs={"input_shape": (4, 5), "index": ((None, None, -2), None, (1, 3, 1))}),
        ],
    )
)


# Tensor index: a gather -----------------------------------------------------------------------------------------------


def _broadcast_index(op: str, indices: tuple[TensorType, ...]) -> Shape:
    for type in indices:
        if not type.dtype.is_integer:
            raise DtypeError(expected(op, "integer tensors as index", str(type), "cast with .to('s64')"))
    return broadcast_shapes(op, *[type.shape for type in indices])


def picked_shape(op: str, shape: Shape, indices: tuple[TensorType, ...], axes: tuple[int, ...]) -> Shape:
    """NumPy's rule: the index's axes stand where the indexed ones stood, or in front where those are apart."""
    common = _broadcast_index(op, indices)
    normalize_axes(op, axes, len(shape))
    rest = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    position = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
    return (*rest[:position], *common, *rest[position:])


def _infer_take(x: TensorType, *indices: TensorType, axes: tuple[int, ...]) -> TensorType:
    return x.with_(shape=picked_shape("take", x.shape, indices, axes))


_ROWS = np.array([2, 0, -1, 2])

TAKE = register_op(
    Op(
        name="take",
        infer=_infer_take,
        grad_reads="others",
        dtypes=ALL,
        checks=True,
        calls=lambda: [
            Call(inputs=((3, 4), _ROWS), attrs={"axes": (0,)}),
            Call(inputs=((2, 3, 4), _ROWS.reshape(2, 2)), attrs={"axes": (1,)}),
            Call(inputs=((3, 4, 5), _ROWS, np.array([[1], [3]])), attrs={"axes": (0, 1)}),
            Call(inputs=((3, 2, 3), _ROWS, _ROWS), attrs={"axes": (0, 2)}),
            Call(inputs=((3, 4), np.array([], dtype=np.int64)), attrs={"axes": (0,)}),
        ],
    )
)


def _infer_take_backward(
    grad: TensorType, *indices: TensorType, input_shape: Shape, axes: tuple[int, ...]
) -> TensorType:
    wanted = picked_shape("take_backward", input_shape, indices, axes)
    if grad.shape != wanted:
        raise ShapeError(expected("take_backward", f"a gradient of shape {wanted}", str(grad)))
    return grad.with_(shape=input_shape)


TAKE_BACKWARD = register_op(
    Op(
        name="take_backward",
        infer=_infer_take_backward,
        grad_reads="others",
        checks=True,
        dtypes=(*INTEGERS, *FLOATS),
        calls=lambda: [
            Call(inputs=((4, 4), _ROWS), attrs={"input_shape": (3, 4), "axes": (0,)}),
            Call(inputs=((2, 2, 2, 4), _ROWS.reshape(2, 2)), attrs={"input_shape": (2, 3, 4), "axes": (1,)}),
            Call(inputs=((4, 2), _ROWS, _ROWS), attrs={"input_shape": (3, 2, 3), "axes": (0, 2)}),
        ],
    )
)
