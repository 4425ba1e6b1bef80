"""Where the largest and smallest elements are."""

from __future__ import annotations

import math
from typing import Any

from dtrain.base.dtype import ALL, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call
from dtrain.ops.infer import normalize_axis, reduced_shape
from dtrain.ops.one_element import of_one_element


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


def _apply(op: Op, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    if tensor.ndim == 0 and axis is not None:
        return of_one_element(lambda vector: _apply(op, vector, axis, keepdims), tensor)
    normal = None if axis is None else normalize_axis(op.name, axis, tensor.ndim)
    return apply(op, tensor, axis=normal, keepdims=keepdims)


def argmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Where the largest element along `axis` is, s64; the first of equal ones. None: in the flattened tensor.

    >>> argmax(tensor([[1.0, 3.0], [4.0, 2.0]]), 1)
    Tensor([1, 0], s64[2]@cpu)
    """
    return _apply(ARGMAX, x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Where the smallest element along `axis` is, s64; the first of equal ones. None: in the flattened tensor."""
    return _apply(ARGMIN, x, axis, keepdims)


install_methods({"argmax": argmax, "argmin": argmin})
