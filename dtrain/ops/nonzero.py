"""Where the elements are that are not 0: an op of a dynamic shape, which masks and conditions stand on."""

from __future__ import annotations

from typing import Any

from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.shape import reshape
from dtrain.opset.nonzero import NONZERO


def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0, in order: s64[count, ndim]. Eager only.

    With `as_tuple` a vector for each axis, which is an index of x; an x without axes counts as [1].
    """
    if not as_tuple:
        return apply(NONZERO, x)
    positions = apply(NONZERO, x if x.ndim else reshape(x, (1,)))
    return tuple(positions[:, axis] for axis in range(positions.shape[1]))


install_methods({"nonzero": nonzero})
