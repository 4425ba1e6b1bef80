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
from dtrain.ops import comparison, elementwise
from dtrain.ops.matmul import matmul

OURS: dict[np.ufunc, Callable[..., Tensor]] = {
    np.add: elementwise.add,
    np.subtract: elementwise.sub,
    np.multiply: elementwise.mul,
    np.divide: elementwise.div,
    np.floor_divide: elementwise.floor_div,
    np.remainder: elementwise.mod,
    np.power: elementwise.pow,
    np.maximum: elementwise.maximum,
    np.minimum: elementwise.minimum,
    np.arctan2: elementwise.atan2,
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
    np.negative: elementwise.neg,
    np.absolute: elementwise.abs,
    np.sign: elementwise.sign,
    np.square: elementwise.square,
    np.sqrt: elementwise.sqrt,
    np.reciprocal: elementwise.reciprocal,
    np.exp: elementwise.exp,
    np.expm1: elementwise.expm1,
    np.log: elementwise.log,
    np.log1p: elementwise.log1p,
    np.rint: elementwise.round,
    np.ceil: elementwise.ceil,
    np.floor: elementwise.floor,
    np.sin: elementwise.sin,
    np.cos: elementwise.cos,
    np.tan: elementwise.tan,
    np.arcsin: elementwise.asin,
    np.arccos: elementwise.acos,
    np.arctan: elementwise.atan,
    np.sinh: elementwise.sinh,
    np.cosh: elementwise.cosh,
    np.tanh: elementwise.tanh,
    np.arcsinh: elementwise.asinh,
    np.arccosh: elementwise.acosh,
    np.arctanh: elementwise.atanh,
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
