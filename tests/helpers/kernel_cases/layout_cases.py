"""Cases of images into blocks of channels and back: channels below, at and above a block, NaN in lanes of padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from helpers.kernel_cases.case import Array, normal

from dtrain.base.layout import NCHW4C, NCHW8C, NCHW16C, NCHW32C, PLAIN, Layout
from dtrain.kernels.call import Call

SHAPES = (
    (2, 13, 3, 2), (1, 16, 4, 4), (2, 17, 5, 7), (1, 1, 1, 1), (3, 35, 1, 31), (0, 5, 2, 2), (2, 0, 3, 1), (1, 4, 0, 3),
    (1, 101, 6, 6),
)  # fmt: skip


def _blocked(image: Array, layout: Layout) -> Array:
    array = np.full(layout.array_shape(image.shape), np.nan)
    for n, c, h, w in np.ndindex(image.shape):
        array[n, c // layout.block, h, w, c % layout.block] = image[n, c, h, w]
    return array


def relayout() -> Iterator[Call]:
    for layout in (NCHW4C, NCHW8C, NCHW16C, NCHW32C):
        for seed, shape in enumerate(SHAPES):
            image, label = normal(seed, *shape), f"{shape} {layout}"
            there, back = {"source": PLAIN, "layout": layout}, {"source": layout, "layout": PLAIN}
            blocked = layout.array_shape(shape)
            yield Call(label=f"to {label}", inputs=(image,), attrs=there, outputs=(blocked,))
            inputs = (_blocked(image, layout),)
            yield Call(label=f"from {label}", inputs=inputs, attrs=back, outputs=(shape,))


CASES = {"relayout": relayout}
