"""Convolution and its gradients on the CPU: im2col around BLAS.

Images are taken in chunks of about a thousand output pixels, so that each product is large enough for BLAS and its
columns stay in the cache. Over a chunk of B images, with P output pixels, K = C/G·KH·KW taps and G groups:

    columns[G, K, B·P] = im2col(x)          y[G, O/G, B·P] = w[G, O/G, K] · columns
    dw += dy[G, O/G, B·P] · columnsᵀ        dx = col2im(wᵀ · dy)

Columns and products lie in the workspace that the caller hands over. A call is bound to its arrays before it runs:
chunks, views and the compiled kernels' closures are made once for a run that makes it again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

import numpy as np

from dtrain.base.alignment import aligned
from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Binder
from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.problem import Problem
from dtrain.kernels.workspace import Take, Workspace

Call = Callable[[], Any]
Calls = list[Call]
Pair = tuple[int, int]
Shape = tuple[int, ...]

_TARGET_COLUMNS = 1024
# A pointwise convolution over this many pixels is a large enough product image by image, without any copy.
_POINTWISE_PIXELS = 128


def _chunks(batch: int, pixels: int) -> Iterator[slice]:
    """Slices of the batch that hold about `_TARGET_COLUMNS` output pixels, or one image."""
    step = _images_a_chunk(pixels)
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


def _images_a_chunk(pixels: int) -> int:
    return max(1, _TARGET_COLUMNS // pixels)


def _side_by_side(images: Array, take: Take, groups: int, calls: Calls) -> Array:
    """dy[B,O,OH,OW] as [G, O/G, B·P]: a view for one image, else a copy into the workspace."""
    batch, channels, height, width = images.shape
    if batch == 1:
        return images.reshape(groups, channels // groups, height * width)
    gathered = take("grad", (channels, batch, height, width), images.dtype)
    calls.append(partial(np.copyto, gathered, images.swapaxes(0, 1)))
    return gathered.reshape(groups, channels // groups, batch * height * width)


class Im2colConvolution:
    """The three convolutions over a pair of compiled kernels: each binds the calls of all chunks to its arrays.

    `im2col` and `col2im` bind their kernels to arrays.
    """

    def __init__(self, im2col: Binder, col2im: Binder) -> None:
        self._im2col = im2col
        self._col2im = col2im

    def binders(self) -> dict[str, Binder]:
        """By op."""
        return {
            "conv2d": self.conv2d,
            "conv2d_backward_data": self.conv2d_backward_data,
            "conv2d_backward_weights": self.conv2d_backward_weights,
        }

    def conv2d(
        self,
        x: Array,
        w: Array,
        out: Array,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        workspace: Array | None = None,
    ) -> Call:
        """y = w · im2col(x), chunk by chunk."""
        channels, outputs, pixels = x.shape[1], w.shape[0], out.shape[2] * out.shape[3]
        if out.size == 0:
            return in_turn([])
        weights = w.reshape(groups, outputs // groups, prod(w.shape[1:]))
        geometry: dict[str, Shape] = {
            "kernel_size": w.shape[2:],
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }
        if _is_pointwise(w.shape, stride, padding) and pixels >= _POINTWISE_PIXELS:
            images = x.reshape(x.shape[0], groups, channels // groups, pixels)
            return in_turn([product(weights, images, out.reshape(len(out), groups, outputs // groups, pixels))])
        take, calls = Workspace(workspace).take, Calls()
        for chunk in _chunks(x.shape[0], pixels):
            columns, part = self._columns(x[chunk], out.shape[2:], geometry, groups, take, calls), out[chunk]
            if len(part) == 1:
                calls.append(product(weights, columns, part.reshape(groups, outputs // groups, pixels)))
            else:
                found = take("product", (groups, outputs // groups, columns.shape[2]), out.dtype)
                calls.append(product(weights, columns, found))
                images = found.reshape(outputs, *part.shape[:1], *part.shape[2:])
                calls.append(partial(np.copyto, part.swapaxes(0, 1), images))
        return in_turn(calls)

    def conv2d_backward_data(
        self,
        dy: Array,
        w: Array,
        out: Array,
        *,
        input_shape: Shape,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        workspace: Array | None = None,
    ) -> Call:
        """dx = col2im(wᵀ · dy), chunk by chunk."""
        channels, pixels = input_shape[1], dy.shape[2] * dy.shape[3]
        if dy.size == 0 or out.size == 0:
            return in_turn([partial(out.fill, 0)])
        transposed = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:])).swapaxes(1, 2)
        if _is_pointwise(w.shape, stride, padding) and pixels >= _POINTWISE_PIXELS:
            grads = dy.reshape(len(dy), groups, w.shape[0] // groups, pixels)
            return in_turn([product(transposed, grads, out.reshape(len(dy), groups, channels // groups, pixels))])
        take, calls = Workspace(workspace).take, Calls()
        for chunk in _chunks(dy.shape[0], pixels):
            grad, part = _side_by_side(dy[chunk], take, groups, calls), out[chunk]
            columns = take("columns", (groups, transposed.shape[1], grad.shape[2]), dy.dtype)
            calls.append(product(transposed, grad, columns))
            windows = columns.reshape(channels, *w.shape[2:], len(part), *dy.shape[2:])
            calls.append(self._col2im(windows, out=part, stride=stride, padding=padding, dilation=dilation))
        return in_turn(calls)

    def conv2d_backward_weights(
        self,
        dy: Array,
        x: Array,
        out: Array,
        *,
        weight_shape: Shape,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        workspace: Array | None = None,
    ) -> Call:
        """dw = Σ over chunks of dy · im2col(x)ᵀ."""
        pixels = dy.shape[2] * dy.shape[3]
        if dy.size == 0 or out.size == 0:
            return in_turn([partial(out.fill, 0)])
        total = out.reshape(groups, weight_shape[0] // groups, prod(weight_shape[1:]))
        geometry: dict[str, Shape] = {
            "kernel_size": weight_shape[2:],
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }
        take, calls = Workspace(workspace).take, Calls()
        for chunk in _chunks(dy.shape[0], pixels):
            grad = _side_by_side(dy[chunk], take, groups, calls)
            columns = self._columns(x[chunk], dy.shape[2:], geometry, groups, take, calls)
            if chunk.start == 0:
                calls.append(product(grad, columns.swapaxes(1, 2), total))
            else:
                part = take("weights", total.shape, out.dtype)
                calls.append(product(grad, columns.swapaxes(1, 2), part))
                calls.append(partial(np.add, total, part, out=total))
        return in_turn(calls)

    def _columns(
        self, images: Array, output: Shape, geometry: dict[str, Shape], groups: int, take: Take, calls: Calls
    ) -> Array:
        """im2col(images) as [G, K, B·P]; a view of the image itself where a kernel of one sees each pixel once."""
        batch, channels, height, width = images.shape
        kernel_size = geometry["kernel_size"]
        if batch == 1 and _is_pointwise((0, 0, *kernel_size), geometry["stride"], geometry["padding"]):
            return images.reshape(groups, channels // groups, height * width)
        columns = take("columns", (channels, *kernel_size, batch, *output), images.dtype)
        calls.append(self._im2col(images, out=columns, **geometry))
        return columns.reshape(groups, channels // groups * prod(kernel_size), batch * prod(output))


def product(a: Array, b: Array, out: Array) -> Call:
    """out = a · b, by BLAS."""
    return partial(np.matmul, a, b, out=out)


def in_turn(calls: Calls) -> Call:
    """One call that makes all of these."""

    def run() -> None:
        for call in calls:
            call()

    return run


def _is_pointwise(weight_shape: Shape, stride: Shape, padding: Shape) -> bool:
    """A kernel of one that sees every pixel once, in place: its columns are the image."""
    return weight_shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0)


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of the columns and products of a chunk, the largest there is."""
    shape = convolution_shape(problem)
    batch, pixels, itemsize = shape.batch, shape.pixels, problem.inputs[0].dtype.itemsize
    if shape.macs == 0 or (
        problem.op != "conv2d_backward_weights" and shape.is_pointwise and pixels >= _POINTWISE_PIXELS
    ):
        return 0
    images = min(batch, _images_a_chunk(pixels))
    pieces = [] if shape.is_pointwise and images == 1 and problem.op != "conv2d_backward_data" else [shape.taps]
    if images > 1:  # the outputs of several images, side by side
        pieces.append(shape.outputs)
    nbytes = sum(aligned(rows * images * pixels * itemsize) for rows in pieces)
    if problem.op == "conv2d_backward_weights" and batch > images:
        nbytes += aligned(shape.weights * itemsize)
    return nbytes
