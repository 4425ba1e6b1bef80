"""Facts of the ops behind `ops/where.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL, bool_
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.infer import broadcast_shapes, same_dtype


def _infer(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype is not bool_:
        raise DtypeError(expected("where", "a bool condition", str(condition), "compare it, such as x > 0"))
    same_dtype("where", x, y)
    return x.with_(shape=broadcast_shapes("where", condition.shape, x.shape, y.shape))


def _calls() -> list[Call]:
    mask = np.array([[True, False, True], [False, False, True]])
    return [
        Call(inputs=(mask, (2, 3), (2, 3))),
        Call(inputs=(mask, (4, 2, 1), (3,))),
        Call(inputs=(np.array(True), (), (5,))),
        Call(inputs=(np.zeros((0, 3), np.bool_), (1, 3), ())),
    ]


WHERE = register_op(Op(name="where", infer=_infer, calls=_calls, dtypes=ALL, grad_reads="others"))


computes_lane_by_lane(WHERE)
