"""Facts of the ops behind `ops/shape.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from math import prod

from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import broadcast_shapes

# Reshape --------------------------------------------------------------------------------------------------------------


def _infer_reshape(x: TensorType, *, shape: Shape) -> TensorType:
    if prod(shape) != x.size:
        raise ShapeError(expected("reshape", f"a shape of {x.size} elements as {x} has", str(shape)))
    return x.with_(shape=shape)


RESHAPE = register_op(
    Op(
        name="reshape",
        infer=_infer_reshape,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((2, 6),), attrs={"shape": (3, 4)}),
            Call(inputs=((1,),), attrs={"shape": ()}),
            Call(inputs=((0, 3),), attrs={"shape": (5, 0)}),
        ],
    )
)


# Transpose ------------------------------------------------------------------------------------------------------------


def _infer_transpose(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(expected("transpose", f"a permutation of the {x.ndim} axes of {x}", str(axes)))
    return x.with_(shape=tuple(x.shape[axis] for axis in axes))


TRANSPOSE = register_op(
    Op(
        name="transpose",
        infer=_infer_transpose,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((2, 3, 4),), attrs={"axes": (2, 0, 1)}),
            Call(inputs=((2, 3),), attrs={"axes": (1, 0)}),
            Call(inputs=((),), attrs={"axes": ()}),
        ],
    )
)


# Broadcast ------------------------------------------------------------------------------------------------------------


def _infer_broadcast(x: TensorType, *, shape: Shape) -> TensorType:
    if len(shape) < x.ndim or broadcast_shapes("broadcast_to", x.shape, shape) != shape:
        raise ShapeError(expected("broadcast_to", f"a shape that {x} broadcasts to", str(shape)))
    return x.with_(shape=shape)


BROADCAST_TO = register_op(
    Op(
        name="broadcast_to",
        infer=_infer_broadcast,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 1),), attrs={"shape": (2, 3, 4)}),
            Call(inputs=((),), attrs={"shape": (5,)}),
            Call(inputs=((1, 3),), attrs={"shape": (0, 3)}),
        ],
    )
)
