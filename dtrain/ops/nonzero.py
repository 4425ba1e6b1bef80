"""Where the elements are that are not 0: an op of a dynamic shape, which masks and conditions stand on."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.dtype import ALL, int64
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, install_methods
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.ops.shape import reshape


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


def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0, in order: s64[count, ndim]. Eager only.

    With `as_tuple` a vector for each axis, which is an index of x; an x without axes counts as [1].
    """
    if not as_tuple:
        return apply(NONZERO, x)
    positions = apply(NONZERO, x if x.ndim else reshape(x, (1,)))
    return tuple(positions[:, axis] for axis in range(positions.shape[1]))


install_methods({"nonzero": nonzero})
