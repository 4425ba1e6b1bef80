"""Tensors without axes where a function works along one: a vector of one element, whose axis 0 or -1 names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dtrain.core.pair import ValuesAndIndices
from dtrain.core.tensor import Tensor
from dtrain.ops.shape import reshape

Result = TypeVar("Result", Tensor, ValuesAndIndices)


def as_vector(x: Tensor) -> Tensor:
    """A tensor without axes as a vector; others as they are."""
    return x if x.ndim else reshape(x, (1,))


def of_one_element(function: Callable[..., Result], x: Tensor, *args: Any, **kwargs: Any) -> Result:
    """What the function gives for x as a vector, without the axis: one tensor, or values and indices."""
    result = function(reshape(x, (1,)), *args, **kwargs)
    if isinstance(result, tuple):
        return ValuesAndIndices(*(reshape(each, ()) for each in result))
    return reshape(result, ())
