"""NumPy's side of `array * tensor`: its operators and ufuncs ask the tensor, which answers with its own ops.

So `np.float64(0.5) * p`, `np.ones(2) <= p` and `np.exp(p)` are tensors with a history, as with the array on the right.
A ufunc that has no counterpart here, and NumPy's functions (`np.dot`, `np.where`, …), compute with the numbers, and
refuse tensors whose gradients would be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.base.user_source import user_source
from dtrain.core.context import context, no_grad
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops import binary, comparison, unary
from dtrain.ops.matmul import matmul

OURS: dict[np.ufunc, Callable[..., Tensor]] = {
    np.add: binary.add,
    np.subtract: binary.sub,
    np.multiply: binary.mul,
    np.divide: binary.div,
    np.floor_divide: binary.floor_div,
    np.remainder: binary.mod,
    np.power: binary.pow,
    np.maximum: binary.maximum,
    np.minimum: binary.minimum,
    np.arctan2: binary.atan2,
    np.matmul: matmul,
    np.equal: comparison.equal,
    np.not_equal: comparison.not_equal,
    np.less: comparison.less,
    np.less_equal: comparison.less_equal,
    np.greater: comparison.greater,
    np.greater_equal: comparison.greater_equal,
    np.logical_and: comparison.logical_and,
    np.logical_or: comparison.logical_or,
    np.logical_xor: comparison.logical_xor,
    np.logical_not: comparison.logical_not,
    np.bitwise_and: comparison.bitwise_and,
    np.bitwise_or: comparison.bitwise_or,
    np.bitwise_xor: comparison.bitwise_xor,
    np.invert: comparison.bitwise_not,
    np.left_shift: comparison.left_shift,
    np.right_shift: comparison.right_shift,
    np.isnan: comparison.isnan,
    np.isinf: comparison.isinf,
    np.isfinite: comparison.isfinite,
    np.negative: unary.neg,
    np.absolute: unary.abs,
    np.sign: unary.sign,
    np.square: unary.square,
    np.sqrt: unary.sqrt,
    np.reciprocal: unary.reciprocal,
    np.exp: unary.exp,
    np.expm1: unary.expm1,
    np.log: unary.log,
    np.log1p: unary.log1p,
    np.rint: unary.round,
    np.ceil: unary.ceil,
    np.floor: unary.floor,
    np.sin: unary.sin,
    np.cos: unary.cos,
    np.tan: unary.tan,
    np.arcsin: unary.asin,
    np.arccos: unary.acos,
    np.arctan: unary.atan,
    np.sinh: unary.sinh,
    np.cosh: unary.cosh,
    np.tanh: unary.tanh,
    np.arcsinh: unary.asinh,
    np.arccosh: unary.acosh,
    np.arctanh: unary.atanh,
}


# NumPy's functions that only look at numbers or write them down.
_LOOKS_ONLY = {
    np.array_equal, np.array_equiv, np.allclose, np.isclose, np.shape, np.ndim, np.size, np.result_type, np.can_cast,
    np.array_repr, np.array_str, np.array2string, np.save, np.savez, np.savez_compressed, np.savetxt, np.copy,
    np.shares_memory, np.may_share_memory, np.zeros_like, np.ones_like, np.empty_like, np.full_like,
}  # fmt: skip


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    function = OURS.get(ufunc)
    if method == "__call__" and function is not None and not options:
        return function(*inputs)
    numbers = [_numbers(ufunc, value) for value in inputs]
    if "out" in options:
        options["out"] = tuple(_numbers(ufunc, value) for value in options["out"])
    return getattr(ufunc, method)(*numbers, **options)


def _array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if function in _LOOKS_ONLY:
        with no_grad():
            return function(*_numbers(function, args), **_numbers(function, kwargs))
    return function(*_numbers(function, args), **_numbers(function, kwargs))


def _numbers(function: Any, value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_numbers(function, item) for item in value)
    if type(value) is dict:
        return {key: _numbers(function, item) for key, item in value.items()}
    if not isinstance(value, Tensor):
        return value
    if value.requires_grad and context.grad_enabled:
        raise RuntimeError(
            expected(
                f"np.{function.__name__} at {user_source()}",
                "tensors that require no gradient, since a NumPy array keeps no history",
                f"{value.type} with requires_grad=True",
                "use the function of dtrain.functional (y = array + x, not array += x), or x.detach()",
            )
        )
    return value.numpy()


install_methods({"__array_ufunc__": _array_ufunc, "__array_function__": _array_function})
