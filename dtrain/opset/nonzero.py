"""Facts of the ops behind `ops/nonzero.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import ALL, int64
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _infer_nonzero(x: TensorType) -> TensorType:
    """An upper bound: how many there are is known only from the values."""
    return x.with_(shape=(x.size, x.ndim), dtype=int64)


NONZERO = register_op(
    Op(
        name="nonzero",
        infer=_infer_nonzero,
        dtypes=ALL,
        is_dynamic=True,
        calls=lambda: [
            Call(inputs=(np.array([[1, 0, 2], [0, 0, 3]]),)),
            Call(inputs=(np.zeros((0,), dtype=np.float32),)),
        ],
    )
)
