"""Methods that make tensors of a tensor's dtype and device: `x.new_zeros(2, 3)`, `x.new_tensor([1, 2])` …"""

from __future__ import annotations

from typing import Any

from dtrain.base.device import DeviceLike
from dtrain.base.dtype import DTypeLike
from dtrain.core.tensor import Tensor, install_methods
from dtrain.core.tensor_factory import ShapeLike, full, shape_of, tensor


def new_full(
    x: Tensor,
    shape: ShapeLike,
    value: float | bool,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this shape with every element `value`, in x's dtype and on its device unless others are given."""
    place = x.device if device is None else device
    return full(shape, value, dtype=dtype or x.dtype, device=place, requires_grad=requires_grad)


def new_zeros(x: Tensor, *shape: Any, size: ShapeLike | None = None, **options: Any) -> Tensor:
    """Zeros of this shape, `new_zeros(2, 3)` or `new_zeros((2, 3))`; options as of `new_full`."""
    return new_full(x, shape_of("new_zeros", shape if size is None else (*shape, size)), 0, **options)


def new_ones(x: Tensor, *shape: Any, size: ShapeLike | None = None, **options: Any) -> Tensor:
    """Ones of this shape, `new_ones(2, 3)` or `new_ones((2, 3))`; options as of `new_full`."""
    return new_full(x, shape_of("new_ones", shape if size is None else (*shape, size)), 1, **options)


def new_empty(x: Tensor, *shape: Any, size: ShapeLike | None = None, **options: Any) -> Tensor:
    """A tensor of this shape to be filled, zeros here; options as of `new_full`."""
    return new_full(x, shape_of("new_empty", shape if size is None else (*shape, size)), 0, **options)


def new_tensor(
    x: Tensor,
    data: Any,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A copy of numbers, nested lists or an array, in x's dtype and on its device unless others are given."""
    place = x.device if device is None else device
    return tensor(data, dtype=dtype or x.dtype, device=place, requires_grad=requires_grad)


install_methods({function.__name__: function for function in (new_full, new_zeros, new_ones, new_empty, new_tensor)})
