"""Convolution and its gradients on the CPU: im2col around BLAS.

Images are taken in chunks of about a thousand output pixels, so that each product is large enough for BLAS and its
columns stay in the cache. Over a chunk of B images, with P output pixels, K = C/G·KH·KW taps and G groups:

    columns[G, K, B·P] = im2col(x)          y[G, O/G, B·P] = w[G, O/G, K] · columns
    dw += dy[G, O/G, B·P] · columnsᵀ        dx = col2im(wᵀ · dy)

Columns and products lie in the workspace that the caller hands over. Bound to its arrays, a call is a list of
calls over chunks, views and closures that are made once, for a run that makes it again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from dtrain.base.alignment import aligned
from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Binder, KernelFunction
from dtrain.kernels.convolution_cost import POINTWISE_PIXELS, TARGET_COLUMNS
from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.problem import Problem
from dtrain.kernels.workspace import Take, Workspace

Pair = tuple[int, int]
Shape = tuple[int, ...]


def _chunks(batch: int, pixels: int) -> Iterator[slice]:
    """Slices of the batch that hold about `TARGET_COLUMNS` output pixels, or one image."""
    step = _images_a_chunk(pixels)
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


def _images_a_chunk(pixels: int) -> int:
    return max(1, TARGET_COLUMNS // pixels)


class Compiled(NamedTuple):
    """A kernel: its function, and what binds a call of it to arrays."""

    function: KernelFunction
    bind: Binder


def _of_numpy(function: KernelFunction) -> Compiled:
    return Compiled(function, partial(partial, function))


MULTIPLY, COPY, ADD = _of_numpy(np.matmul), _of_numpy(np.copyto), _of_numpy(np.add)

# Gives what a convolution calls for a kernel: something that computes at once, or that binds the call for later.
Do = Callable[[Compiled], KernelFunction]


def at_once(kernel: Compiled) -> KernelFunction:
    return kernel.function


class Later:
    """Binds calls to their arrays; `run` makes them all."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Any]] = []

    def __call__(self, kernel: Compiled) -> KernelFunction:
        def bind(*arrays: Any, **options: Any) -> None:
            self._calls.append(kernel.bind(*arrays, **options))

        return bind

    def run(self) -> None:
        for call in self._calls:
            call()


def _side_by_side(images: Array, take: Take, groups: int, do: Do) -> Array:
    """dy[B,O,OH,OW] as [G, O/G, B·P]: a view for one image, else a copy into the workspace."""
    batch, channels, height, width = images.shape
    if batch == 1:
        return images.reshape(groups, channels // groups, height * width)
    gathered = take("grad", (channels, batch, height, width), images.dtype)
    do(COPY)(gathered, images.swapaxes(0, 1))
    return gathered.reshape(groups, channels // groups, batch * height * width)


class Im2colConvolution:
    """The three convolutions over a pair of compiled kernels. `do` makes their calls, at once or later."""

    def __init__(self, im2col: Compiled, col2im: Compiled) -> None:
        self._im2col = im2col
        self._col2im = col2im

    def kernel(self, op: str) -> Compiled:
        """One of them, as a function and as what binds its calls to arrays."""
        convolution = getattr(self, op)

        def bind(*inputs: Array, **options: Any) -> Callable[[], None]:
            later = Later()
            convolution(later, *inputs, **options)
            return later.run

        return Compiled(partial(convolution, at_once), bind)

    def conv2d(
        self,
        do: Do,
        x: Array,
        w: Array,
        out: Array,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        workspace: Array | None = None,
    ) -> None:
        """y = w · im2col(x), chunk by chunk."""
        channels, outputs, pixels = x.shape[1], w.shape[0], out.shape[2] * out.shape[3]
        if out.size == 0:
            return
        multiply, copy = do(MULTIPLY), do(COPY)
        weights = w.reshape(groups, outputs // groups, prod(w.shape[1:]))
        geometry: dict[str, Shape] = {
            "kernel_size": w.shape[2:],
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }
        if _is_pointwise(w.shape, stride, padding) and pixels >= POINTWISE_PIXELS:
            images = x.reshape(x.shape[0], groups, channels // groups, pixels)
            multiply(weights, images, out=out.reshape(len(out), groups, outputs // groups, pixels))
            return
        take = Workspace(workspace).take
        for chunk in _chunks(x.shape[0], pixels):
            columns, part = self._columns(x[chunk], out.shape[2:], geometry, groups, take, do), out[chunk]
            if len(part) == 1:
                multiply(weights, columns, out=part.reshape(groups, outputs // groups, pixels))
            else:
                found = take("product", (groups, outputs // groups, columns.shape[2]), out.dtype)
                multiply(weights, columns, out=found)
                images = found.reshape(outputs, *part.shape[:1], *part.shape[2:])
                copy(part.swapaxes(0, 1), images)

    def conv2d_backward_data(
        self,
        do: Do,
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
    ) -> None:
        """dx = col2im(wᵀ · dy), chunk by chunk."""
        channels, pixels = input_shape[1], dy.shape[2] * dy.shape[3]
        if dy.size == 0 or out.size == 0:
            do(COPY)(out, 0)
            return
        multiply, spread = do(MULTIPLY), do(self._col2im)
        transposed = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:])).swapaxes(1, 2)
        if _is_pointwise(w.shape, stride, padding) and pixels >= POINTWISE_PIXELS:
            grads = dy.reshape(len(dy), groups, w.shape[0] // groups, pixels)
            multiply(transposed, grads, out=out.reshape(len(dy), groups, channels // groups, pixels))
            return
        take = Workspace(workspace).take
        for chunk in _chunks(dy.shape[0], pixels):
            grad, part = _side_by_side(dy[chunk], take, groups, do), out[chunk]
            columns = take("columns", (groups, transposed.shape[1], grad.shape[2]), dy.dtype)
            multiply(transposed, grad, out=columns)
            windows = columns.reshape(channels, *w.shape[2:], len(part), *dy.shape[2:])
            spread(windows, out=part, stride=stride, padding=padding, dilation=dilation)

    def conv2d_backward_weights(
        self,
        do: Do,
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
    ) -> None:
        """dw = Σ over chunks of dy · im2col(x)ᵀ."""
        pixels = dy.shape[2] * dy.shape[3]
        if dy.size == 0 or out.size == 0:
            do(COPY)(out, 0)
            return
        multiply, add = do(MULTIPLY), do(ADD)
        total = out.reshape(groups, weight_shape[0] // groups, prod(weight_shape[1:]))
        geometry: dict[str, Shape] = {
            "kernel_size": weight_shape[2:],
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }
        take = Workspace(workspace).take
        for chunk in _chunks(dy.shape[0], pixels):
            grad = _side_by_side(dy[chunk], take, groups, do)
            columns = self._columns(x[chunk], dy.shape[2:], geometry, groups, take, do)
            if chunk.start == 0:
                multiply(grad, columns.swapaxes(1, 2), out=total)
            else:
                part = take("weights", total.shape, out.dtype)
                multiply(grad, columns.swapaxes(1, 2), out=part)
                add(total, part, out=total)

    def _columns(
        self, images: Array, output: Shape, geometry: dict[str, Shape], groups: int, take: Take, do: Do
    ) -> Array:
        """im2col(images) as [G, K, B·P]; a view of the image itself where a kernel of one sees each pixel once."""
        batch, channels, height, width = images.shape
        kernel_size = geometry["kernel_size"]
        if batch == 1 and _is_pointwise((0, 0, *kernel_size), geometry["stride"], geometry["padding"]):
            return images.reshape(groups, channels // groups, height * width)
        columns = take("columns", (channels, *kernel_size, batch, *output), images.dtype)
        do(self._im2col)(images, out=columns, **geometry)
        return columns.reshape(groups, channels // groups * prod(kernel_size), batch * prod(output))


def _is_pointwise(weight_shape: Shape, stride: Shape, padding: Shape) -> bool:
    """A kernel of one that sees every pixel once, in place: its columns are the image."""
    return weight_shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0)


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of the columns and products of a chunk, the largest there is."""
    shape = convolution_shape(problem)
    batch, pixels, itemsize = shape.batch, shape.pixels, problem.inputs[0].dtype.itemsize
    if shape.macs == 0 or (
        problem.op != "conv2d_backward_weights" and shape.is_pointwise and pixels >= POINTWISE_PIXELS
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
