"""Convolution on a GPU as im2col around cuBLAS: two or three launches a layer.

Over a chunk of B images with P output pixels, K = C/G·KH·KW taps and G groups:

    columns[G, K, B·P] = im2col(x)          y[G, O/G, B·P] = w[G, O/G, K] · columns
    dw += dy[G, O/G, B·P] · columnsᵀ        dx = col2im(wᵀ · dy)

Products are in the dtype of the tensors (f32 without TF32), sums over chunks in order: runs repeat bitwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from dtrain.kernels.array_module import Array
from dtrain.kernels.cuda.launch import BLOCK_SIZE, Functions, grid_for

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
    """conv2d(x, w, out=y, *, stride, padding, dilation, groups)."""
    import cupy

    x, w = inputs
    if out.size == 0:
        return
    if x.size == 0 or w.size == 0:
        out.fill(0)
        return
    weights = _weights(w, attrs["groups"])
    for chunk in _chunks(x.shape[0], w, out.shape[2:]):
        columns, part = _columns(functions, x[chunk], w.shape, out.shape[2:], attrs), out[chunk]
        if len(part) == 1:
            cupy.matmul(weights, columns, out=part.reshape(len(weights), -1, columns.shape[2]))
        else:
            product = cupy.matmul(weights, columns)
            part.swapaxes(0, 1)[...] = product.reshape(out.shape[1], len(part), *out.shape[2:])


def launch_conv2d_backward_data(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """conv2d_backward_data(dy, w, out=dx, *, input_shape, stride, padding, dilation, groups)."""
    import cupy

    dy, w = inputs
    if dy.size == 0 or out.size == 0 or w.size == 0:
        out.fill(0)
        return
    transposed = _weights(w, attrs["groups"]).swapaxes(1, 2)
    for chunk in _chunks(dy.shape[0], w, dy.shape[2:]):
        part = out[chunk]
        columns = cupy.matmul(transposed, _side_by_side(dy[chunk], attrs["groups"]))
        windows = columns.reshape(out.shape[1], *w.shape[2:], len(part), *dy.shape[2:])
        launch_col2im(functions, [windows], part, attrs)


def launch_conv2d_backward_weights(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """conv2d_backward_weights(dy, x, out=dw, *, weight_shape, stride, padding, dilation, groups)."""
    import cupy

    dy, x = inputs
    if dy.size == 0 or out.size == 0:
        out.fill(0)
        return
    total = _weights(out, attrs["groups"])
    for chunk in _chunks(dy.shape[0], out, dy.shape[2:]):
        columns = _columns(functions, x[chunk], out.shape, dy.shape[2:], attrs)
        part = cupy.matmul(_side_by_side(dy[chunk], attrs["groups"]), columns.swapaxes(1, 2))
        if chunk.start == 0:
            total[...] = part
        else:
            total += part


def _geometry(
    image: Sequence[int], kernel: Sequence[int], output: Sequence[int], attrs: Mapping[str, Any]
) -> list[np.int64]:
    """The arguments of both kernels, in the order of the source."""
    numbers = (*image, *kernel, *output, *attrs["stride"], *attrs["padding"], *attrs["dilation"])
    return [np.int64(number) for number in numbers]


def _weights(w: Array, groups: int) -> Array:
    """w[O,C/G,KH,KW] as [G, O/G, K]."""
    return w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))


def _chunks(batch: int, w: Array, output: Sequence[int]) -> Iterator[slice]:
    """Slices of the batch whose columns fit into MAX_COLUMN_BYTES, or single images."""
    per_image = w.nbytes // max(w.shape[0], 1) * prod(output)
    step = max(1, MAX_COLUMN_BYTES // max(per_image, 1))
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


def _columns(
    functions: Functions, images: Array, weight_shape: Sequence[int], output: Sequence[int], attrs: Mapping[str, Any]
) -> Array:
    """im2col(images) as [G, K, B·P]."""
    import cupy

    batch, channels = images.shape[:2]
    columns = cupy.empty((channels, *weight_shape[2:], batch, *output), images.dtype)
    launch_im2col(functions, [images], columns, attrs)
    return columns.reshape(attrs["groups"], -1, batch * prod(output))


def _side_by_side(images: Array, groups: int) -> Array:
    """dy[B,O,OH,OW] as [G, O/G, B·P]: a view for one image, else a copy."""
    batch, channels, height, width = images.shape
    return images.swapaxes(0, 1).reshape(groups, channels // groups, batch * height * width)
