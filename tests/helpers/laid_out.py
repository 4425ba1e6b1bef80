"""Images in other layouts, with padding lanes that would show in any result that read them."""

from __future__ import annotations

import numpy as np

from dtrain.base.layout import Layout
from dtrain.core.tensor import Tensor, wrap
from dtrain.ops.relayout import relayout

SHAPE = (2, 13, 3, 2)  # 13 channels fill no block of any layout


def laid_out(array: np.ndarray, layout: Layout) -> Tensor:
    """The image in this layout; NaN, or another number that no call has, in its padding lanes."""
    x = relayout(wrap(array.copy()), layout)
    padding(x)[...] = True if array.dtype == np.bool_ else 77 if array.dtype.kind in "iu" else np.nan
    return x


def padding(x: Tensor) -> np.ndarray:
    """The padding lanes of a tensor, to read or write; no elements where it has none."""
    layout = x.type.layout
    if not layout.is_blocked or x.shape[1] % layout.block == 0:
        return np.empty(0, x.array.dtype)
    lanes: np.ndarray = x.array[:, -1, :, :, x.shape[1] % layout.block :]
    return lanes


def lanes_of(array: np.ndarray, layout: Layout) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Where each element (n, c, h, w) lies in the array of its layout, one by one."""
    places = {}
    for n, c, h, w in np.ndindex(array.shape):
        if layout.is_blocked:
            places[n, c, h, w] = (n, c // layout.block, h, w, c % layout.block)
        else:
            places[n, c, h, w] = (n, h, w, c) if str(layout) == "NHWC" else (n, c, h, w)
    return places
