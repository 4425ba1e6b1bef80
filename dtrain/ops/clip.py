"""Numbers limited to an interval."""

from __future__ import annotations

from math import isinf
from typing import Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.core.apply import apply, as_tensors
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.ops.cast import as_floating
from dtrain.ops.comparison import greater, less
from dtrain.ops.where import where, where_sloped
from dtrain.opset.clip import CLIP


@gradient_of(CLIP)
def _clip_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    x, low, high = node.inputs[0].detach(), node.attrs["low"], node.attrs["high"]
    if low is None:
        inside = x <= high
    else:
        inside = x >= low if high is None else (x >= low) & (x <= high)
    return (where_sloped(inside, grad, x),)


Limit = float | Tensor | None


def clip(x: Any, low: Limit = None, high: Limit = None) -> Tensor:
    """x limited to [low, high]; None leaves a side open. The gradient is 0 outside and 1 at the limits.

    Limits may be tensors, which broadcast, and get the gradient of the elements that they replace; NaN in them stays.
    Limits that are not whole turn integers into floats; whole ones outside the range of their dtype limit nothing.

    >>> clip(tensor([-2.0, 0.5, 3.0]), 0, 1)
    Tensor([0. , 0.5, 1. ], f32[3]@cpu)
    """
    if low is None and high is None:
        raise ValueError(expected("clip", "at least one limit", "neither low nor high"))
    tensor = as_tensor(x)
    if isinstance(low, Tensor | np.ndarray) or isinstance(high, Tensor | np.ndarray):
        return _clip_by_tensors(tensor, low, high)
    if tensor.dtype.is_integer:
        if all(limit is None or (isinf(limit) or limit == int(limit)) for limit in (low, high)):
            return _clip_integers(tensor, low, high)
        tensor = as_floating(tensor)
    # One form of each limit, so that equal nodes of a graph look equal.
    return apply(CLIP, tensor, low=None if low is None else float(low), high=None if high is None else float(high))


def _clip_integers(x: Tensor, low: float | None, high: float | None) -> Tensor:
    info = np.iinfo(x.dtype.numpy)
    least, most = int(info.min), int(info.max)

    def in_range(limit: float | None, otherwise: int) -> int:
        return otherwise if limit is None else int(max(least, min(most, limit)))

    return apply(CLIP, x, low=in_range(low, least), high=in_range(high, most))


def _clip_by_tensors(x: Tensor, low: Limit, high: Limit) -> Tensor:
    """First not below `low`, then not above `high`."""
    for limit, is_past in ((low, less), (high, greater)):
        if limit is not None:
            x, bound = as_tensors([x, limit])
            x = where(is_past(x, bound) | (bound != bound), bound, x)
    return x


install_methods({"clip": clip})


def _clamp_min(x: Tensor, low: float) -> Tensor:
    """x, at least `low`."""
    return clip(x, low)


def _clamp_max(x: Tensor, high: float) -> Tensor:
    """x, at most `high`."""
    return clip(x, None, high)


install_methods({"clamp_min": _clamp_min, "clamp_max": _clamp_max})
