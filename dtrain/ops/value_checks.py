"""Checks that can stand in a graph: they give their input back, and raise where its values are not what is meant."""

from __future__ import annotations

import numpy as np

from dtrain.base.dtype import FLOATS, INTEGERS
from dtrain.base.errors import DtypeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
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


def in_range(index: Tensor, size: int, *, low: int = 0, where: str, what: str) -> Tensor:
    """The index itself. Raises ValueError unless all of it lies in [low, size): at once, or when a graph runs.

    Args:
        where: the function that complains.
        what: how it calls the index.
    """
    return apply(IN_RANGE, index, low=low, size=size, where=where, what=what)


def _infer_finite(x: TensorType, *, where: str, what: str, advice: str) -> TensorType:
    return x


def _grad_finite(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (grad,)


EXPECT_FINITE = register_op(
    Op(
        name="expect_finite",
        infer=_infer_finite,
        grad=_grad_finite,
        grad_reads="none",
        dtypes=FLOATS,
        checks=True,
        calls=lambda: [
            Call(inputs=(shape,), attrs={"where": "clip_grad_norm_", "what": "a finite norm", "advice": ""})
            for shape in ((), (3,), (0, 2))
        ],
    )
)


def expect_finite(x: Tensor, *, where: str, what: str, advice: str = "") -> Tensor:
    """x itself. Raises RuntimeError if an element is infinite or NaN: at once, or when a graph runs.

    Args:
        where: the function that complains.
        what: what it expected.
        advice: what to do.
    """
    return apply(EXPECT_FINITE, x, where=where, what=what, advice=advice)
