"""Cases of convolution: products of stride, padding, dilation and groups over uneven shapes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from helpers.kernel_cases.case import normal

from dtrain.kernels.call import Call

# N, C, H, W, O, groups, KH, KW: dense, grouped, depthwise with one and two outputs a channel, pointwise over one and
# many images, one grey channel, several chunks of images, none at all.
SHAPES = (
    (2, 4, 9, 11, 6, 1, 3, 3),
    (3, 4, 8, 8, 8, 2, 3, 1),
    (2, 6, 7, 5, 6, 6, 3, 3),
    (2, 3, 7, 9, 6, 3, 5, 3),
    (1, 5, 34, 33, 7, 1, 1, 1),
    (17, 5, 8, 8, 7, 1, 1, 1),
    (9, 1, 16, 17, 4, 1, 5, 5),
    (5, 2, 21, 23, 3, 1, 3, 3),
    (1, 16, 17, 18, 16, 16, 3, 3),
    (0, 3, 5, 5, 4, 1, 3, 3),
)
STRIDES, PADDINGS, DILATIONS = ((1, 1), (2, 1), (2, 2)), ((0, 0), (1, 2)), ((1, 1), (2, 1))


def _geometries() -> Iterator[tuple[tuple[int, ...], tuple[int, int], dict[str, Any]]]:
    for shape, stride, padding, dilation in product(SHAPES, STRIDES, PADDINGS, DILATIONS):
        _, _, height, width, _, groups, kernel_h, kernel_w = shape
        out_h = (height + 2 * padding[0] - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1
        out_w = (width + 2 * padding[1] - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1
        if out_h >= 1 and out_w >= 1:
            attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            yield shape, (out_h, out_w), attrs


def _label(shape: tuple[int, ...], attrs: dict[str, Any]) -> str:
    return f"{shape} {attrs}"


def conv2d() -> Iterator[Call]:
    for shape, output, attrs in _geometries():
        n, c, h, w, o, groups, kh, kw = shape
        yield Call(
            label=_label(shape, attrs),
            inputs=(normal(1, n, c, h, w), normal(2, o, c // groups, kh, kw)),
            attrs=attrs,
            outputs=((n, o, *output),),
            length=c // groups * kh * kw,
        )


def conv2d_backward_data() -> Iterator[Call]:
    for shape, output, attrs in _geometries():
        n, c, h, w, o, groups, kh, kw = shape
        yield Call(
            label=_label(shape, attrs),
            inputs=(normal(1, n, o, *output), normal(2, o, c // groups, kh, kw)),
            attrs={"input_shape": (n, c, h, w), **attrs},
            outputs=((n, c, h, w),),
            length=o // groups * kh * kw,
        )


def conv2d_backward_weights() -> Iterator[Call]:
    for shape, output, attrs in _geometries():
        n, c, h, w, o, groups, kh, kw = shape
        weight_shape = (o, c // groups, kh, kw)
        yield Call(
            label=_label(shape, attrs),
            inputs=(normal(1, n, o, *output), normal(2, n, c, h, w)),
            attrs={"weight_shape": weight_shape, **attrs},
            outputs=(weight_shape,),
            length=n * output[0] * output[1],
        )


def im2col() -> Iterator[Call]:
    for shape, output, attrs in _geometries():
        n, c, h, w, _, _, kh, kw = shape
        window = {"kernel_size": (kh, kw), **{k: v for k, v in attrs.items() if k != "groups"}}
        yield Call(
            label=_label(shape, attrs),
            inputs=(normal(1, n, c, h, w),),
            attrs=window,
            outputs=((c, kh, kw, n, *output),),
        )


def col2im() -> Iterator[Call]:
    for shape, output, attrs in _geometries():
        n, c, h, w, _, _, kh, kw = shape
        yield Call(
            label=_label(shape, attrs),
            inputs=(normal(1, c, kh, kw, n, *output),),
            attrs={k: v for k, v in attrs.items() if k != "groups"},
            outputs=((n, c, h, w),),
            length=kh * kw,
        )


CASES = {
    "conv2d": conv2d,
    "conv2d_backward_data": conv2d_backward_data,
    "conv2d_backward_weights": conv2d_backward_weights,
    "im2col": im2col,
    "col2im": col2im,
}
