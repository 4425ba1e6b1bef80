"""Cases of pooling: overlapping, padded and uneven windows; ties and NaN for the maximum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from helpers.kernel_cases.case import Array, normal

from dtrain.kernels.call import Call, Typed

# (N, C, H, W), kernel, stride, padding
WINDOWS = (
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 9, 7), (3, 3), (2, 2), (1, 1)),
    ((2, 1, 17, 16), (3, 2), (1, 2), (1, 0)),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0)),
    ((3, 2, 5, 31), (5, 4), (1, 3), (2, 2)),
    ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((2, 3, 7, 9), (7, 9), (7, 9), (0, 0)),
    ((1, 101, 6, 6), (2, 3), (2, 1), (0, 1)),
    ((1, 37, 2, 2), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 9, 71), (3, 3), (2, 2), (1, 1)),
)
# (N, C, H, W), output size; the first ones are global pooling: planes and their number around the width of vectors
ADAPTIVE = (
    ((2, 5, 7, 9), (1, 1)),
    ((3, 11, 2, 2), (1, 1)),
    ((1, 16, 1, 1), (1, 1)),
    ((1, 17, 3, 5), (1, 1)),
    ((2, 9, 4, 4), (1, 1)),
    ((1, 3, 1, 17), (1, 1)),
    ((2, 3, 7, 17), (3, 5)),
    ((1, 2, 4, 4), (4, 4)),
    ((1, 2, 3, 5), (6, 7)),
    ((1, 1, 31, 33), (2, 2)),
    ((0, 2, 4, 4), (2, 2)),
    ((2, 2, 16, 32), (2, 1)),
)


def _out_size(shape: tuple[int, ...], window: dict[str, Any]) -> tuple[int, int]:
    height, width = (
        (size + 2 * pad - kernel) // stride + 1
        for size, pad, kernel, stride in zip(shape[2:], window["padding"], window["kernel_size"], window["stride"])
    )
    return height, width


def _windows() -> Iterator[tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]]:
    for shape, kernel, stride, padding in WINDOWS:
        window = {"kernel_size": kernel, "stride": stride, "padding": padding}
        yield shape, window, (*shape[:2], *_out_size(shape, window))


def _images(shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Distinct values; many ties; a NaN in the middle of numbers."""
    image = normal(1, *shape)
    yield "distinct", image
    yield "ties", np.round(image)
    if image.size > 4:
        with_nan = image.copy()
        with_nan.flat[image.size // 2 :: 7] = np.nan
        yield "nan", with_nan


def max_pool2d() -> Iterator[Call]:
    for shape, window, out_shape in _windows():
        for kind, image in _images(shape):
            outputs = (out_shape, Typed(out_shape, "int32"))
            yield Call(label=f"{shape} {window} {kind}", inputs=(image,), attrs=window, outputs=outputs)


def adaptive_max_pool2d() -> Iterator[Call]:
    for shape, size in ADAPTIVE:
        for kind, image in _images(shape):
            outputs = ((*shape[:2], *size), Typed((*shape[:2], *size), "int32"))
            yield Call(label=f"{shape} {size} {kind}", inputs=(image,), attrs={"output_size": size}, outputs=outputs)


def max_pool2d_backward() -> Iterator[Call]:
    for shape, window, out_shape in _windows():
        indices = np.random.default_rng(3).integers(0, shape[2] * shape[3], out_shape).astype(np.int32)
        yield Call(
            label=f"{shape} {window}",
            inputs=(normal(1, *out_shape), indices),
            attrs={"input_shape": shape},
            outputs=(shape,),
            length=9,
        )


def _average(backward: bool) -> Iterator[Call]:
    for shape, window, out_shape in _windows():
        for count_include_pad in (True, False):
            attrs = {**window, "count_include_pad": count_include_pad}
            yield Call(
                label=f"{shape} {attrs}",
                inputs=(normal(1, *(out_shape if backward else shape)),),
                attrs={"input_shape": shape, **attrs} if backward else attrs,
                outputs=(shape if backward else out_shape,),
                length=window["kernel_size"][0] * window["kernel_size"][1],
            )


def _adaptive_average(backward: bool) -> Iterator[Call]:
    for shape, size in ADAPTIVE:
        out_shape = (*shape[:2], *size)
        yield Call(
            label=f"{shape} {size}",
            inputs=(normal(1, *(out_shape if backward else shape)),),
            attrs={"input_shape": shape} if backward else {"output_size": size},
            outputs=(shape if backward else out_shape,),
            length=shape[2] * shape[3],
        )


CASES = {
    "max_pool2d": max_pool2d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "max_pool2d_backward": max_pool2d_backward,
    "avg_pool2d": lambda: _average(False),
    "avg_pool2d_backward": lambda: _average(True),
    "adaptive_avg_pool2d": lambda: _adaptive_average(False),
    "adaptive_avg_pool2d_backward": lambda: _adaptive_average(True),
}
