"""How the elements of a tensor lie in memory, also in a trace, where it has none yet.

What ops compute lies in order; views are laid over memory by the same functions that lay them over numbers. So a traced
function can decide as eager execution does whether a reshape shows its input, or had to copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from dtrain.base.layout import PLAIN
from dtrain.core.tensor import Array, Tensor
from dtrain.kernels.device_arrays import extent, owner_of


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


def is_argument(x: Tensor) -> bool:
    """Whether it is an argument of the function that is being traced: every call lays that anew."""
    return x.array is None and x.value is not None and x.value.node is None


def root_of(x: Tensor) -> Tensor:
    """The tensor at the bottom of a chain of views."""
    while x.base is not None:
        x = x.base
    return x


def _twin(x: Tensor, known: Mapping[Tensor, np.ndarray] = MappingProxyType({})) -> np.ndarray:
    """An array that lies as the tensor does, in bytes. Its numbers mean nothing: pages not touched cost nothing."""
    if x in known:
        return known[x]
    if x.array is not None:
        return _twin_of(x.array)
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
