"""A check that can stand in a graph: class numbers and indices that name something."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import INTEGERS
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, Sample, register_op


def _infer(index: TensorType, *, size: int, where: str, what: str) -> TensorType:
    if not index.dtype.is_integer:
        raise DtypeError(expected(where, f"{what} of integers", str(index), "cast with .to('s64')"))
    return index


IN_RANGE = register_op(
    Op(
        name="in_range",
        infer=_infer,
        dtypes=INTEGERS,
        checks=True,
        samples=lambda: [
            Sample(inputs=(np.array([2, 0, 1]),), attrs={"size": 3, "where": "nll_loss", "what": "targets"}),
            Sample(inputs=(np.array([], np.int32),), attrs={"size": 0, "where": "nll_loss", "what": "targets"}),
        ],
    )
)


def in_range(index: Tensor, size: int, *, where: str, what: str) -> Tensor:
    """The index itself. Raises ValueError unless all of it lies in [0, size): at once, or when a graph runs.

    Args:
        where: the function that complains.
        what: how it calls the index.
    """
    return apply(IN_RANGE, index, size=size, where=where, what=what)
