"""Convolution on a GPU as im2col around cuBLAS: two or three launches a layer.

Over a chunk of B images with P output pixels, K = C/G·KH·KW taps and G groups:

    columns[G, K, B·P] = im2col(x)          y[G, O/G, B·P] = w[G, O/G, K] · columns
    dw += dy[G, O/G, B·P] · columnsᵀ        dx = col2im(wᵀ · dy)

Columns and products lie in the workspace that the caller hands over. Products are in the dtype of the tensors (f32
without TF32), sums over chunks in order: runs repeat bitwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from dtrain.base.alignment import aligned
from dtrain.kernels.array_module import Array
from dtrain.kernels.convolution_shape import convolution_shape
from dtrain.kernels.cuda.launch import BLOCK_SIZE, Functions, grid_for
from dtrain.kernels.problem import Problem
from dtrain.kernels.workspace import Take, Workspace

# Memory for the columns of one chunk: large enough to fill a GPU, small enough to be nobody's business.
MAX_COLUMN_BYTES = 1 << 28


def launch_im2col(functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]) -> None:
    """im2col(x, out=columns[C,KH,KW,N,OH,OW], *, kernel_size, stride, padding, dilation)."""
    (x,) = inputs
    if out.size:
        geometry = _geometry(x.shape, out.shape[1:3], out.shape[4:], attrs)
        functions["im2col"](grid_for(out.size), (BLOCK_SIZE,), (x, out, *geometry))


def launch_col2im(functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]) -> None:
    """col2im(columns[C,KH,KW,N,OH,OW], out=dx[N,C,H,W], *, stride, padding, dilation)."""
    (columns,) = inputs
    if out.size:
        geometry = _geometry(out.shape, columns.shape[1:3], columns.shape[4:], attrs)
        functions["col2im"](grid_for(out.size), (BLOCK_SIZE,), (columns, out, *geometry))


def launch_conv2d(functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]) -> None:
    """conv2d(x, w, out=y, *, stride, padding, dilation, groups, workspace)."""
    import cupy

    x, w = inputs
    if out.size == 0:
        return
    if x.size == 0 or w.size == 0:
        out.fill(0)
        return
    weights, take = _weights(w, attrs["groups"]), Workspace(attrs["workspace"]).take
    for chunk in _chunks(len(x), w, out, attrs["groups"]):
        columns, part = _columns(functions, x[chunk], w.shape, out.shape[2:], attrs, take), out[chunk]
        if len(part) == 1:
            cupy.matmul(weights, columns, out=part.reshape(len(weights), -1, columns.shape[2]))
        else:
            product = take("product", (*weights.shape[:2], columns.shape[2]), out.dtype)
            cupy.matmul(weights, columns, out=product)
            part.swapaxes(0, 1)[...] = product.reshape(out.shape[1], len(part), *out.shape[2:])


def launch_conv2d_backward_data(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """conv2d_backward_data(dy, w, out=dx, *, input_shape, stride, padding, dilation, groups, workspace)."""
    import cupy

    dy, w = inputs
    if dy.size == 0 or out.size == 0 or w.size == 0:
        out.fill(0)
        return
    transposed, take = _weights(w, attrs["groups"]).swapaxes(1, 2), Workspace(attrs["workspace"]).take
    for chunk in _chunks(len(dy), w, dy, attrs["groups"]):
        grad, part = _side_by_side(dy[chunk], attrs["groups"], take), out[chunk]
        columns = take("columns", (*transposed.shape[:2], grad.shape[2]), dy.dtype)
        cupy.matmul(transposed, grad, out=columns)
        windows = columns.reshape(out.shape[1], *w.shape[2:], len(part), *dy.shape[2:])
        launch_col2im(functions, [windows], part, attrs)


def launch_conv2d_backward_weights(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """conv2d_backward_weights(dy, x, out=dw, *, weight_shape, stride, padding, dilation, groups, workspace)."""
    import cupy

    dy, x = inputs
    if dy.size == 0 or out.size == 0:
        out.fill(0)
        return
    total, take = _weights(out, attrs["groups"]), Workspace(attrs["workspace"]).take
    for chunk in _chunks(len(dy), out, dy, attrs["groups"]):
        columns = _columns(functions, x[chunk], out.shape, dy.shape[2:], attrs, take).swapaxes(1, 2)
        grad = _side_by_side(dy[chunk], attrs["groups"], take)
        if chunk.start == 0:
            cupy.matmul(grad, columns, out=total)
        else:
            part = take("weights", total.shape, out.dtype)
            cupy.matmul(grad, columns, out=part)
            cupy.add(total, part, out=total)


def workspace_nbytes(problem: Problem) -> int:
    """Bytes of what the launch rules above take for a chunk, the largest there is."""
    shape, itemsize = convolution_shape(problem), problem.inputs[0].dtype.itemsize
    if shape.macs == 0:
        return 0
    images = min(shape.batch, _images_a_chunk(shape.taps * shape.pixels * itemsize))
    pieces = [shape.taps, shape.outputs] if images > 1 else [shape.taps]  # columns, and outputs side by side
    nbytes = sum(aligned(rows * images * shape.pixels * itemsize) for rows in pieces)
    if problem.op == "conv2d_backward_weights" and shape.batch > images:
        nbytes += aligned(shape.weights * itemsize)
    return nbytes


def _geometry(
    image: Sequence[int], kernel: Sequence[int], output: Sequence[int], attrs: Mapping[str, Any]
) -> list[np.int64]:
    """The arguments of both kernels, in the order of the source."""
    numbers = (*image, *kernel, *output, *attrs["stride"], *attrs["padding"], *attrs["dilation"])
    return [np.int64(number) for number in numbers]


def _weights(w: Array, groups: int) -> Array:
    """w[O,C/G,KH,KW] as [G, O/G, K]."""
    return w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))


def _chunks(batch: int, w: Array, y: Array, groups: int) -> Iterator[slice]:
    """Slices of the batch whose columns fit into MAX_COLUMN_BYTES, or single images."""
    step = _images_a_chunk(groups * prod(w.shape[1:]) * prod(y.shape[2:]) * w.dtype.itemsize)
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


def _images_a_chunk(nbytes: int) -> int:
    """`nbytes` are those of the columns of one image."""
    return max(1, MAX_COLUMN_BYTES // max(nbytes, 1))


def _columns(
    functions: Functions,
    images: Array,
    weight_shape: Sequence[int],
    output: Sequence[int],
    attrs: Mapping[str, Any],
    take: Take,
) -> Array:
    """im2col(images) as [G, K, B·P]."""
    batch, channels = images.shape[:2]
    columns = take("columns", (channels, *weight_shape[2:], batch, *output), images.dtype)
    launch_im2col(functions, [images], columns, attrs)
    return columns.reshape(attrs["groups"], -1, batch * prod(output))


def _side_by_side(images: Array, groups: int, take: Take) -> Array:
    """dy[B,O,OH,OW] as [G, O/G, B·P]: a view for one image, else a copy into the workspace."""
    batch, channels, height, width = images.shape
    gathered = images
    if batch > 1:
        gathered = take("grad", (channels, batch, height, width), images.dtype)
        gathered[...] = images.swapaxes(0, 1)
    return gathered.reshape(groups, channels // groups, batch * height * width)
