"""Cases of sums and means: orders of reduced and kept axes, sizes around vectors, blocks and groups, infinities."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from helpers.kernel_cases.case import SIZES, normal

from dtrain.kernels.call import Call

WIDTHS = [size for size in SIZES if size > 0]
# Around eight vectors, a block of them, a group of 2^15 terms, and several groups.
LENGTHS = (63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 32767, 32768, 32769, 100_003)
# Around the eight rows that are added first, and groups of 128.
ROWS = (2, 7, 8, 9, 16, 23, 127, 128, 129, 257, 1031)

Pattern = tuple[tuple[int, ...], tuple[int, ...]]


def _last_axes() -> Iterator[Pattern]:
    yield from [
        ((2, 17, 3, 7), (0, 2, 3)),
        ((5, 2, 101), (0, 2)),
        ((3, 1, 4, 1, 5), (1, 3, 4)),
        ((2, 3, 17), (0, 1, 2)),
    ]
    yield from [((1, 1), (0,)), ((1, 1), ()), ((3, 40_009), (1,)), ((70, 3, 1009), (0, 2)), ((3, 2, 33_000), (0, 2))]
    yield from (((size,), (0,)) for size in WIDTHS)
    yield from (((5, size), (1,)) for size in WIDTHS)
    yield from (((3, 2, size), (0, 2)) for size in WIDTHS)
    yield from (((size,), (0,)) for size in LENGTHS)


def _last_kept() -> Iterator[Pattern]:
    yield from [
        ((2, 3, 4, 17), (1, 2)),
        ((3, 19, 1), (1,)),
        ((17, 5), ()),
        ((2, 1, 33), (1,)),
        ((2, 3, 1, 19), (0, 1, 2)),
    ]
    yield from [((3, 300, 5), (1,)), ((130, 1100), (0,)), ((2, 9, 2049), (1,))]
    yield from (((5, size), (0,)) for size in WIDTHS)
    yield from (((2, 9, size), (1,)) for size in WIDTHS)
    yield from (((rows, 19), (0,)) for rows in ROWS)


def sums() -> Iterator[Call]:
    for number, (shape, axis) in enumerate([*_last_axes(), *_last_kept()]):
        kept = 1 if number % 3 == 0 else None
        out = tuple(kept if i in axis else size for i, size in enumerate(shape) if kept or i not in axis)
        yield Call(
            label=f"{shape} over {axis}",
            inputs=(normal(1, *shape, offset=0.5),),
            attrs={"axis": axis, "keepdims": kept is not None},
            outputs=(out,),
            length=prod(shape[i] for i in axis),
        )
    for axis in ((0,), (1,), (0, 1)):
        x = normal(1, 9, 150)
        x[1, 3], x[2, 5], x[3, :2], x[4, 7], x[6, 7] = np.inf, -np.inf, (np.inf, -np.inf), np.nan, np.inf
        out = tuple(size for i, size in enumerate(x.shape) if i not in axis)
        attrs = {"axis": axis, "keepdims": False}
        yield Call(label=f"infinities over {axis}", inputs=(x,), attrs=attrs, outputs=(out,), length=150)


def sums_to_shapes() -> Iterator[Call]:
    for number, (shape, axis) in enumerate([*_last_axes(), *_last_kept()]):
        narrow = tuple(1 if i in axis else size for i, size in enumerate(shape))
        while number % 2 and narrow[:1] == (1,):
            narrow = narrow[1:]
        x, length = normal(1, *shape, offset=0.5), prod(shape[i] for i in axis)
        yield Call(label=f"{shape} to {narrow}", inputs=(x,), attrs={"shape": narrow}, outputs=(narrow,), length=length)


CASES = {"sum": sums, "mean": sums, "sum_to_shape": sums_to_shapes}
