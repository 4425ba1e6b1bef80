"""Short floats through functions of several ops: f32 in between, rounded once at the end.

A single op computes in f32 and rounds its result. Where ops follow each other, each rounding costs digits, and a square
or a count leaves the range of f16 long before the result does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from dtrain.base.dtype import DType, bfloat16, float16, float32
from dtrain.base.promotion import common_dtype
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import cast
from dtrain.core.tensor import Tensor, as_tensor

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
SHORT_FLOATS = (float16, bfloat16)


def rounded_once(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function composed of several ops: f16 and bf16 tensors go in as f32, floating results come out short.

    Results are f32 where another tensor is wider than the short ones, as everywhere. Works on gradient rules as well.
    """

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        types = [type for value in (*args, *kwargs.values()) if (type := _floating_type(value)) is not None]
        if not any(type.dtype in SHORT_FLOATS for type in types):
            return function(*args, **kwargs)
        widened: Any = [_widen(value) for value in args]
        named: Any = {name: _widen(value) for name, value in kwargs.items()}
        common = common_dtype(types)
        result: Any = function(*widened, **named)
        rounded: Result = _rounded(result, common) if common in SHORT_FLOATS else result
        return rounded

    return wrapped


def _floating_type(value: Any) -> TensorType | None:
    if isinstance(value, np.ndarray | np.generic):
        value = as_tensor(value)
    return value.type if isinstance(value, Tensor) and value.type.dtype.is_floating else None


def _widen(value: Any) -> Any:
    type = _floating_type(value)
    return value if type is None or type.dtype not in SHORT_FLOATS else cast(as_tensor(value), float32)


def _rounded(result: Any, dtype: DType) -> Any:
    if isinstance(result, tuple):
        return tuple(_rounded(each, dtype) for each in result)
    return cast(result, dtype) if isinstance(result, Tensor) and result.type.dtype is float32 else result
