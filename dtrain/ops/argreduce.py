"""Where the largest and smallest elements are."""

from __future__ import annotations

from typing import Any

from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import Op
from dtrain.ops.one_element import of_one_element
from dtrain.opset.argreduce import ARGMAX, ARGMIN
from dtrain.opset.infer import normalize_axis


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
