"""Facts of the ops behind `ops/argreduce.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import math

from dtrain.base.dtype import ALL, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import normalize_axis, reduced_shape


def _arg(name: str) -> Op:
    def infer(x: TensorType, *, axis: int | None, keepdims: bool) -> TensorType:
        axes = tuple(range(x.ndim)) if axis is None else (normalize_axis(name, axis, x.ndim),)
        if math.prod(x.shape[i] for i in axes) == 0:
            raise ShapeError(expected(name, "at least one element along the reduced axis", str(x)))
        return x.with_(shape=reduced_shape(x.shape, axes, keepdims), dtype=int64)

    def calls() -> list[Call]:
        cases = (
            ((2, 5), 1, False),
            ((2, 5, 3), 1, True),
            ((7,), None, False),
            ((2, 3), None, True),
            ((0, 3), 1, False),
        )
        return [Call(inputs=(shape,), attrs={"axis": axis, "keepdims": keep}) for shape, axis, keep in cases]

    return register_op(Op(name=name, infer=infer, calls=calls, dtypes=ALL))


ARGMAX = _arg("argmax")

ARGMIN = _arg("argmin")
