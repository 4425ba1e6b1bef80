"""Samples without a batch axis, where a function of batches takes them as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor
from dtrain.ops.shape import squeeze, unsqueeze


def over_batch(op: str, function: Callable[[Tensor], Any], x: Tensor, names: str) -> Any:
    """function(x) of x[N,C,…]; of x[C,…] the results for it as the only sample.

    Args:
        names: of the axes of a batch, such as "N,C,H,W".
    """
    ndim = names.count(",") + 1
    if x.ndim == ndim:
        return function(x)
    if x.ndim != ndim - 1:
        wanted = f"x[{names}], or [{names.partition(',')[2]}] of one sample"
        raise ShapeError(expected(op, wanted, f"{x.ndim} axes in {x.type}"))
    results = function(unsqueeze(x, 0))
    return tuple(squeeze(y, 0) for y in results) if isinstance(results, tuple) else squeeze(results, 0)
