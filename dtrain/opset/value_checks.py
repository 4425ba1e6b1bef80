"""Facts of the ops behind `ops/value_checks.py`: types from types, dtypes, effects, calls."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import FLOATS, INTEGERS
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call


def _infer(index: TensorType, *, low: int, size: int, where: str, what: str) -> TensorType:
    if not index.dtype.is_integer:
        raise DtypeError(expected(where, f"{what} of integers", str(index), "cast with .to('s64')"))
    return index


IN_RANGE = register_op(
    Op(
        name="in_range",
        infer=_infer,
        dtypes=INTEGERS,
        checks=True,
        calls=lambda: [
            Call(inputs=(np.array([2, 0, 1]),), attrs={"low": 0, "size": 3, "where": "nll_loss", "what": "targets"}),
            Call(
                inputs=(np.array([], np.int32),), attrs={"low": -2, "size": 0, "where": "nll_loss", "what": "targets"}
            ),
        ],
    )
)


def _infer_finite(x: TensorType, *, where: str, what: str, advice: str) -> TensorType:
    return x


EXPECT_FINITE = register_op(
    Op(
        name="expect_finite",
        infer=_infer_finite,
        grad_reads="none",
        dtypes=FLOATS,
        checks=True,
        calls=lambda: [
            Call(inputs=(shape,), attrs={"where": "clip_grad_norm_", "what": "a finite norm", "advice": ""})
            for shape in ((), (3,), (0, 2))
        ],
    )
)
