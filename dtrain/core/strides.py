"""How the elements of a tensor lie in memory, also in a trace, where it has none yet.

What ops compute lies in order, arguments as those of the call that is captured; views are laid over memory by the same
functions that lay them over numbers. So a traced function decides as eager execution does whether a reshape shows its
input, or had to copy. Where that matters the capture relies on it (`capture/strides.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from dtrain.base.layout import PLAIN
from dtrain.core.context import context
from dtrain.core.tensor import Array, Tensor
from dtrain.kernels.device_arrays import extent, owner_of

# The steps in bytes from element to element along each axis; None where they follow from the shape.
Strides = tuple[int, ...] | None


def strides_of(array: Array) -> Strides:
    """How the elements of an array lie."""
    return None if array.flags.c_contiguous else array.strides


def lies_in_order(x: Tensor) -> bool:
    """Whether the elements lie in the order of the axes, without gaps."""
    return x.type.layout is PLAIN and bool((_twin(x) if x.array is None else x.array).flags.c_contiguous)


def shares_memory(view: Tensor, base: Tensor) -> bool:
    """Whether writing into `view`, which views made of `base`, changes `base`. Without elements none differs."""
    if view.array is not None:
        # A view with numbers of a base without was made in another trace.
        return base.array is not None and owner_of(view.array) is owner_of(base.array)
    if not view.size:
        return True
    laid = _twin(base)
    return np.may_share_memory(_twin(view, {base: laid}), laid)


def _twin(x: Tensor, known: Mapping[Tensor, np.ndarray] = MappingProxyType({})) -> np.ndarray:
    """An array that lies as the tensor does, in bytes. Its numbers mean nothing: pages not touched cost nothing."""
    if x in known:
        return known[x]
    if x.array is not None:
        return _twin_of(x.array)
    if context.tracer is not None and (other := context.tracer.strides.laid_as(x)) is not x:
        return _twin(other, known)
    if x.base is None or x.shown is None:
        return np.empty(x.type.array_shape, np.uint8)
    op, attrs, _ = x.shown
    assert op.view is not None
    viewed: np.ndarray = op.view.function(_twin(x.base, known), **attrs)
    return viewed


def _twin_of(array: Array) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    start, end = extent(array)
    memory = np.empty(end - start, np.uint8)
    laid: np.ndarray = np.ndarray(array.shape, array.dtype, memory, array.data.ptr - start, array.strides)
    return laid
