"""The methods that write: `x.add_(y)`, `x += y`, `x.zero_()`, … one row each, made of the functions that do not.

Every row computes what its function gives and writes it into the tensor, as `core/inplace.py` says: under `no_grad`
the elements change, else the history does too, and a leaf that requires gradients refuses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from dtrain.base.errors import ShapeError, expected
from dtrain.base.spelling import spelled
from dtrain.core import random
from dtrain.core.inplace import update_in_place
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import eye, full_like, zeros_like
from dtrain.ops import activation, binary, comparison, rounding, unary
from dtrain.ops.binary import add, div, mul, sub
from dtrain.ops.clip import clip
from dtrain.ops.gather_scatter import scatter, scatter_add
from dtrain.ops.index_put import index_add, index_put, set_item
from dtrain.ops.masking import masked_fill
from dtrain.ops.random_from import bernoulli
from dtrain.ops.scatter_reduce import scatter_reduce
from dtrain.opset.infer import normalize_axis

Function = Callable[..., Tensor]


def _fill(x: Tensor, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return add(zeros_like(x), value.to(x.dtype))
    return full_like(x, value)


def _copy(x: Tensor, source: Any) -> Tensor:
    """The elements of `source`, broadcast, in x's dtype and on its device."""
    new = as_tensor(source, device=x.device).to(x.dtype)
    return new if new.shape == x.shape else new.broadcast_to(x.shape)


def _lerp(x: Tensor, end: Tensor, weight: Any) -> Tensor:
    return add(x, mul(sub(end, x), weight))


def _addcmul(x: Tensor, first: Any, second: Any, *, value: float = 1) -> Tensor:
    return add(x, mul(mul(first, second), value))


def _addcdiv(x: Tensor, first: Any, second: Any, *, value: float = 1) -> Tensor:
    return add(x, mul(div(first, second), value))


def _normal(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return random.normal(x.shape, mean, std, device=x.device).to(x.dtype)


def _uniform(x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    return random.uniform(x.shape, low, high, device=x.device).to(x.dtype)


def _random(x: Tensor, low: int | None = None, high: int | None = None) -> Tensor:
    """Integers in [low, high), or in [0, low) where only one number is given, or of all that the dtype counts in."""
    if high is None:
        low, high = 0, _count_of(x) if low is None else low
    return random.randint(low or 0, high, x.shape, device=x.device).to(x.dtype)


def _count_of(x: Tensor) -> int:
    """One more than the largest integer up to which the dtype has all: bool 2, s8 128, f32 2²⁴ + 1."""
    if x.dtype.is_floating:
        return int(2 ** (int(ml_dtypes.finfo(x.dtype.numpy).nmant) + 1)) + 1
    return 2 if x.dtype.kind == "bool" else min(int(np.iinfo(x.dtype.numpy).max) + 1, 2**63 - 1)


def _bernoulli(x: Tensor, p: Any = 0.5) -> Tensor:
    return bernoulli(x, p)


def _fill_diagonal(x: Tensor, value: Any, wrap: bool = False) -> Tensor:
    if x.ndim != 2 or (wrap and x.shape[0] > x.shape[1]):
        raise ShapeError(expected("fill_diagonal_", "a matrix, and no wrap of a tall one", str(x.type)))
    return masked_fill(x, eye(*x.shape, dtype="bool", device=x.device), value)


def _index_fill(x: Tensor, axis: int, index: Any, value: Any) -> Tensor:
    places = (slice(None),) * normalize_axis("index_fill_", axis, x.ndim)
    return set_item(x, (*places, as_tensor(index)), value)


_UNARY: tuple[Function, ...] = (
    unary.abs, unary.acos, unary.asin, unary.atan, unary.ceil, unary.cos,
    unary.cosh, unary.exp, unary.expm1, unary.floor, unary.log, unary.log1p,
    unary.reciprocal, rounding.round, unary.rsqrt, unary.sign, unary.sin,
    unary.sinh, unary.sqrt, unary.square, unary.tan, unary.tanh, unary.erf,
    activation.relu, activation.sigmoid,
)  # fmt: skip

WRITERS: dict[str, Function] = {
    **{f"{function.__name__}_": function for function in _UNARY},
    "neg_": unary.neg,
    "add_": add,
    "sub_": sub,
    "mul_": mul,
    "div_": div,
    "floor_divide_": binary.floor_div,
    "remainder_": binary.mod,
    "pow_": binary.pow,
    "copy_": _copy,
    "fill_": _fill,
    "zero_": zeros_like,
    "clamp_": clip,
    "clip_": clip,
    "lerp_": _lerp,
    "addcmul_": _addcmul,
    "addcdiv_": _addcdiv,
    "masked_fill_": masked_fill,
    "index_put_": index_put,
    "index_add_": index_add,
    "scatter_": scatter,
    "scatter_add_": scatter_add,
    "scatter_reduce_": scatter_reduce,
    "bitwise_and_": comparison.bitwise_and,
    "bitwise_or_": comparison.bitwise_or,
    "bitwise_xor_": comparison.bitwise_xor,
    "logical_not_": comparison.logical_not,
    "normal_": _normal,
    "uniform_": _uniform,
    "random_": _random,
    "bernoulli_": _bernoulli,
    "fill_diagonal_": _fill_diagonal,
    "index_fill_": _index_fill,
}

OPERATORS: dict[str, Function] = {
    "__iadd__": add,
    "__isub__": sub,
    "__imul__": mul,
    "__itruediv__": div,
    "__ifloordiv__": binary.floor_div,
    "__imod__": binary.mod,
    "__ipow__": binary.pow,
    "__iand__": comparison.bitwise_and,
    "__ior__": comparison.bitwise_or,
    "__ixor__": comparison.bitwise_xor,
    "__ilshift__": comparison.left_shift,
    "__irshift__": comparison.right_shift,
}


def _writer(name: str, function: Function) -> Function:
    # A function of its own takes words by the method's name; one that others share, by its own.
    function = spelled(function, name if function.__name__.startswith("_") else "")

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return update_in_place(name, self, function, *args, **kwargs)

    method.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Overwrite the elements with what `{function.__name__.strip('_')}` gives. Returns self."
    return method


install_methods({name: _writer(name, function) for name, function in {**WRITERS, **OPERATORS}.items()})
