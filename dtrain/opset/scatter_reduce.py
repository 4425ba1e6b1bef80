"""Facts of the ops behind `ops/scatter_reduce.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.opset.gather_scatter import check_scatter


def _infer(x: TensorType, index: TensorType, source: TensorType, *, axis: int, reduce: str) -> TensorType:
    return check_scatter("scatter_reduce", x, index, source, axis=axis, free_axis=axis)


_PLACES = np.array([[2, 0, 2, 2], [1, 0, 0, 2]])

SCATTER_REDUCE = register_op(
    Op(
        name="scatter_reduce",
        infer=_infer,
        saves_outputs=True,
        checks=True,
        dtypes=ALL,
        calls=lambda: [
            Call(inputs=((3, 5), _PLACES, (2, 4)), attrs={"axis": 0, "reduce": "prod"}),
            Call(inputs=((2, 4), np.array([[3, 3, 1], [1, 1, 1]]), (2, 3)), attrs={"axis": 1, "reduce": "amax"}),
            Call(inputs=((2,), np.array([1, 1, 0, 1]), (4,)), attrs={"axis": 0, "reduce": "amin"}),
            Call(inputs=((3, 2), np.zeros((0, 2), np.int64), (0, 2)), attrs={"axis": 0, "reduce": "prod"}),
        ],
    )
)
