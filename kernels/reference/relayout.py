"""Images from one layout into another (`base/layout.py`).

NCHW [N, C, H, W]  <->  NHWC [N, H, W, C]
NCHW [N, C, H, W]  <->  NCHW{b}c [N, ⌈C/b⌉, H, W, b], where channel c is lane c mod b of block ⌊c/b⌋
"""

from __future__ import annotations

from dtrain.base.layout import LAID_OUT, PLAIN, Layout
from dtrain.kernels.array_module import Array
from dtrain.kernels.in_order import in_order
from dtrain.kernels.registry import reference


@reference("relayout", layouts=LAID_OUT, quantized=True)
def relayout(x: Array, out: Array, *, source: Layout, layout: Layout) -> None:
    """The same elements in another layout, one of the two being plain. Padding lanes are 0, those of x are not read."""
    if layout is PLAIN:
        out[...] = in_order(x, source, out.shape[1])
    elif layout.is_blocked:
        _fill_blocks(x, out, layout.block)
    else:
        out[...] = x.transpose(0, 2, 3, 1)


def _fill_blocks(x: Array, out: Array, block: int) -> None:
    n, channels, h, w = x.shape
    whole, rest = divmod(channels, block)
    in_blocks = x[:, : whole * block].reshape(n, whole, block, h, w)
    out[:, :whole] = in_blocks.transpose(0, 1, 3, 4, 2)
    if rest:
        out[:, whole, :, :, :rest] = x[:, whole * block :].transpose(0, 2, 3, 1)
        out[:, whole, :, :, rest:] = 0
