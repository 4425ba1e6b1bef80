"""Tensors from nothing: zeros, ones, full, eye, arange, linspace and their `_like` forms.

While a function is traced, each is an op of the graph (and folds into a constant).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, isfinite
from typing import Any

from dtrain.base.cuda import placement
from dtrain.base.device import CPU, DeviceLike
from dtrain.base.dtype import DType, DTypeLike, as_dtype, bool_, expect_held, float32, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply
from dtrain.core.context import is_tracing
from dtrain.core.relayout import relayout
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.graph.op import get_op
from dtrain.kernels.device_arrays import copy_of

ShapeLike = int | tuple[int, ...] | list[int]


def as_shape(shape: ShapeLike, where: str) -> Shape:
    """A tuple of sizes ≥ 0 from an int or a sequence of ints."""
    try:
        sizes = (int(shape),) if isinstance(shape, int) else tuple(size.__index__() for size in shape)
    except (TypeError, AttributeError):
        raise ShapeError(expected(where, "a size or a tuple of sizes", repr(shape))) from None
    if any(size < 0 for size in sizes):
        raise ShapeError(expected(where, "sizes of at least 0", repr(shape)))
    return sizes


def _leaf(tensor: Tensor, requires_grad: bool) -> Tensor:
    return tensor.requires_grad_() if requires_grad else tensor


def shape_of(where: str, given: tuple[Any, ...]) -> Shape:
    """The sizes of `f(2, 3)`, `f((2, 3))` and `f()` alike."""
    return as_shape(given[0] if len(given) == 1 else given, where)


def full(
    shape: ShapeLike,
    value: float | bool,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike = CPU,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of this shape with every element `value`; without a dtype f32 for a float, s64 for an int, else bool."""
    if dtype is None:
        dtype = bool_ if isinstance(value, bool) else int64 if isinstance(value, int) else float32
    dtype = as_dtype(dtype)
    expect_held("full", dtype, value)
    made = apply(get_op("full"), shape=as_shape(shape, "full"), value=value, dtype=dtype, device=placement(device))
    return _leaf(made, requires_grad)


def zeros(*shape: Any, dtype: DTypeLike | None = None, device: DeviceLike = CPU, requires_grad: bool = False) -> Tensor:
    """Zeros of this shape: `zeros((2, 3))` or `zeros(2, 3)`; f32 unless a dtype is given."""
    return full(shape_of("zeros", shape), 0, dtype=dtype or float32, device=device, requires_grad=requires_grad)


def ones(*shape: Any, dtype: DTypeLike | None = None, device: DeviceLike = CPU, requires_grad: bool = False) -> Tensor:
    """Ones of this shape: `ones((2, 3))` or `ones(2, 3)`; f32 unless a dtype is given."""
    return full(shape_of("ones", shape), 1, dtype=dtype or float32, device=device, requires_grad=requires_grad)


def full_like(
    other: Tensor | TensorType,
    value: float | bool,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`full` with the shape and layout of `other`, and its dtype and device unless others are given."""
    type = other.type if isinstance(other, Tensor) else other
    device = type.device if device is None else device
    made = full(type.shape, value, dtype=dtype or type.dtype, device=device)
    return _leaf(relayout(made, type.layout), requires_grad)


def zeros_like(
    other: Tensor | TensorType,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros with the shape of `other`, and its dtype and device unless others are given."""
    return full_like(other, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    other: Tensor | TensorType,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones with the shape of `other`, and its dtype and device unless others are given."""
    return full_like(other, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike = CPU,
    requires_grad: bool = False,
) -> Tensor:
    """An n×m matrix (m defaults to n) with ones on the main diagonal; f32 unless a dtype is given."""
    rows, columns = as_shape((n, n if m is None else m), "eye")
    made = apply(get_op("eye"), n=rows, m=columns, dtype=as_dtype(dtype or float32), device=placement(device))
    return _leaf(made, requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike = CPU,
) -> Tensor:
    """start, start+step, … below stop; `arange(n)` counts from 0. s64 when all are ints, else f32."""
    if stop is None:
        start, stop = 0, start
    if not all(isfinite(value) for value in (start, stop, step)):
        raise ValueError(expected("arange", "finite numbers", f"start {start}, stop {stop}, step {step}"))
    if step == 0:
        raise ShapeError(expected("arange", "a step that is not 0", "0"))
    if dtype is None:
        dtype = int64 if all(isinstance(value, int) for value in (start, stop, step)) else float32
    dtype = as_dtype(dtype)
    if (count := ceil((stop - start) / step)) > 0:
        expect_held("arange", dtype, start, start + (count - 1) * step)
    return apply(get_op("arange"), start=start, stop=stop, step=step, dtype=dtype, device=placement(device))


def linspace(start: float, stop: float, num: int, *, dtype: DTypeLike = float32, device: DeviceLike = CPU) -> Tensor:
    """`num` evenly spaced numbers from start to stop, both included."""
    (num,) = as_shape(num, "linspace")
    dtype = as_dtype(dtype)
    expect_held("linspace", dtype, start, stop)
    return apply(
        get_op("linspace"),
        start=float(start),
        stop=float(stop),
        num=num,
        dtype=dtype,
        device=placement(device),
    )


def tensor(
    data: Any,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new tensor with a copy of numbers, nested lists, or an array. Python floats become f32, ints s64."""
    source = as_tensor(data, dtype, device)
    if not is_tracing():
        copied = Tensor(copy_of(source.concrete("tensor()")), source.type)
    elif isinstance(data, Tensor):
        copied = apply(get_op("copy"), source.detach())
    else:
        copied = source
    return copied.requires_grad_() if requires_grad else copied


def typed(name: str, dtype: DType) -> Callable[..., Tensor]:
    """PyTorch's old constructor of one dtype: `LongTensor([1, 2])` of numbers, `LongTensor(2, 3)` of a shape."""

    def make(*given: Any, device: DeviceLike | None = None) -> Tensor:
        if all(isinstance(size, int) for size in given):
            return zeros(given or (0,), dtype=dtype, device=CPU if device is None else device)
        if len(given) != 1:
            raise TypeError(expected(name, "numbers, nested lists of them, or sizes", str(len(given)) + " values"))
        return tensor(given[0], dtype=dtype, device=device)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"A new {dtype} tensor of numbers, nested lists or an array; or of zeros, of the sizes given."
    return make
