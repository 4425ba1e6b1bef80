"""The elements of a laid-out image (`base/layout.py`) in the order of its axes, for who takes numbers out of it."""

from __future__ import annotations

from dtrain.base.layout import PLAIN, Layout
from dtrain.kernels.array_module import Array
from dtrain.kernels.device_arrays import beside


def in_order(array: Array, layout: Layout, channels: int) -> Array:
    """The elements as [N, C, H, W], without padding lanes: the array itself if it is plain, else a view or a copy."""
    if layout is PLAIN:
        return array
    if not layout.is_blocked:
        return array.transpose(0, 3, 1, 2)
    n, blocks, h, w, block = array.shape
    with beside(array):
        return array.transpose(0, 1, 4, 2, 3).reshape(n, blocks * block, h, w)[:, :channels]
