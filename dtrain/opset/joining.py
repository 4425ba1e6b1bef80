"""Facts of the ops behind `ops/joining.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call

# Concat ---------------------------------------------------------------------------------------------------------------


def _infer_concat(*inputs: TensorType, axis: int) -> TensorType:
    first = inputs[0]
    for other in inputs[1:]:
        same_ndim = other.ndim == first.ndim
        if not same_ndim or any(a != b for i, (a, b) in enumerate(zip(first.shape, other.shape)) if i != axis):
            given = ", ".join(str(type.shape) for type in inputs)
            raise ShapeError(expected("concat", f"shapes that agree but for axis {axis}", given))
    joined = sum(type.shape[axis] for type in inputs)
    return first.with_(shape=(*first.shape[:axis], joined, *first.shape[axis + 1 :]))


CONCAT = register_op(
    Op(
        name="concat",
        infer=_infer_concat,
        grad_reads="none",
        promotes=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((2, 3), (2, 1), (2, 4)), attrs={"axis": 1}),
            Call(inputs=((2,), (0,)), attrs={"axis": 0}),
            Call(inputs=((3, 2),), attrs={"axis": 0}),
        ],
    )
)


# Pad ------------------------------------------------------------------------------------------------------------------


Pads = tuple[tuple[int, int], ...]


def _infer_pad(x: TensorType, *, pads: Pads, value: float) -> TensorType:
    return x.with_(shape=tuple(before + size + after for size, (before, after) in zip(x.shape, pads)))


PAD = register_op(
    Op(
        name="pad",
        infer=_infer_pad,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((2, 3),), attrs={"pads": ((0, 1), (2, 0)), "value": 0}),
            Call(inputs=((2,),), attrs={"pads": ((1, 1),), "value": 1}),
            Call(inputs=((0, 2),), attrs={"pads": ((1, 0), (0, 0)), "value": 0}),
        ],
    )
)
