"""Convolution and its gradients on the CPU: im2col around BLAS.

Images are taken in chunks of about a thousand output pixels, so that each product is large enough for BLAS and its
columns stay in the cache. Over a chunk of B images, with P output pixels, K = C/G·KH·KW taps and G groups:

    columns[G, K, B·P] = im2col(x)          y[G, O/G, B·P] = w[G, O/G, K] · columns
    dw += dy[G, O/G, B·P] · columnsᵀ        dx = col2im(wᵀ · dy)

Scratch arrays are kept per thread and grow to the largest layer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from dtrain.kernels.registry import Array, KernelFunction

Pair = tuple[int, int]
Shape = tuple[int, ...]

_TARGET_COLUMNS = 1024
# A pointwise convolution over this many pixels is a large enough product image by image, without any copy.
_POINTWISE_PIXELS = 128

_scratch = threading.local()


def scratch_array(slot: str, shape: Shape, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """Uninitialised memory that this thread reuses at its next call with this slot."""
    key = f"{slot}_{dtype}"
    size = prod(shape)
    kept: npt.NDArray[np.generic] | None = getattr(_scratch, key, None)
    if kept is None or kept.size < size:
        kept = np.empty(size, dtype)
        setattr(_scratch, key, kept)
    return kept[:size].reshape(shape)


def _chunks(batch: int, pixels: int) -> Iterator[slice]:
    """Slices of the batch that hold about `_TARGET_COLUMNS` output pixels, or one image."""
    step = max(1, _TARGET_COLUMNS // pixels)
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


def _side_by_side(images: Array, slot: str, groups: int) -> Array:
    """dy[B,O,OH,OW] as [G, O/G, B·P]: a view for one image, else a copy into scratch."""
    batch, channels, height, width = images.shape
    if batch == 1:
        return images.reshape(groups, channels // groups, height * width)
    gathered = scratch_array(slot, (channels, batch, height, width), images.dtype)
    np.copyto(gathered, images.swapaxes(0, 1))
    return gathered.reshape(groups, channels // groups, batch * height * width)


class Im2colConvolution:
    """The three convolution kernels over one pair of compiled `im2col` and `col2im`."""

    def __init__(self, im2col: KernelFunction, col2im: KernelFunction) -> None:
        self._im2col = im2col
        self._col2im = col2im

    def conv2d(
        self, x: Array, w: Array, out: Array, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> None:
        """y = w · im2col(x), chunk by chunk."""
        channels, outputs, pixels = x.shape[1], w.shape[0], out.shape[2] * out.shape[3]
        if out.size == 0:
            return
        weights = w.reshape(groups, outputs // groups, prod(w.shape[1:]))
        geometry: dict[str, Shape] = {
            "kernel_size": w.shape[2:],
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }
        if _is_pointwise(w.shape, stride, padding) and pixels >= _POINTWISE_PIXELS:
            images = x.reshape(x.shape[0], groups, channels // groups, pixels)
            np.matmul(weights, images, out=out.reshape(out.shape[0], groups, outputs // groups, pixels))
            return
        for chunk in _chunks(x.shape[0], pixels):
            columns = self._columns(x[chunk], out.shape[2:], geometry, groups)
            part = out[chunk]
            if len(part) == 1:
                np.matmul(weights, columns, out=part.reshape(groups, outputs // groups, pixels))
            else:
                product = scratch_array("product", (groups, outputs // groups, columns.shape[2]), out.dtype)
                np.matmul(weights, columns, out=product)
                np.copyto(part.swapaxes(0, 1), product.reshape(outputs, *part.shape[:1], *part.shape[2:]))

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
    ) -> None:
        """dx = col2im(wᵀ · dy), chunk by chunk."""
        channels, pixels = input_shape[1], dy.shape[2] * dy.shape[3]
        if dy.size == 0 or out.size == 0:
            out.fill(0)
            return
        transposed = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:])).swapaxes(1, 2)
        if _is_pointwise(w.shape, stride, padding) and pixels >= _POINTWISE_PIXELS:
            grads = dy.reshape(dy.shape[0], groups, w.shape[0] // groups, pixels)
            np.matmul(transposed, grads, out=out.reshape(dy.shape[0], groups, channels // groups, pixels))
            return
        for chunk in _chunks(dy.shape[0], pixels):
            grad = _side_by_side(dy[chunk], "grad", groups)
            part = out[chunk]
            columns = scratch_array("columns", (groups, transposed.shape[1], grad.shape[2]), dy.dtype)
            np.matmul(transposed, grad, out=columns)
            windows = columns.reshape(channels, *w.shape[2:], len(part), *dy.shape[2:])
            self._col2im(windows, out=part, stride=stride, padding=padding, dilation=dilation)

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
    ) -> None:
        """dw = Σ over chunks of dy · im2col(x)ᵀ."""
        pixels = dy.shape[2] * dy.shape[3]
        if dy.size == 0 or out.size == 0:
            out.fill(0)
            return
        total = out.reshape(groups, weight_shape[0] // groups, prod(weight_shape[1:]))
        geometry: dict[str, Shape] = {
            "kernel_size": weight_shape[2:],
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
        }
        for chunk in _chunks(dy.shape[0], pixels):
            grad = _side_by_side(dy[chunk], "grad", groups)
            columns = self._columns(x[chunk], dy.shape[2:], geometry, groups)
            if chunk.start == 0:
                np.matmul(grad, columns.swapaxes(1, 2), out=total)
            else:
                part = scratch_array("weights", total.shape, out.dtype)
                np.matmul(grad, columns.swapaxes(1, 2), out=part)
                np.add(total, part, out=total)

    def _columns(self, images: Array, output: Shape, geometry: dict[str, Shape], groups: int) -> Array:
        """im2col(images) as [G, K, B·P]; a view of the image itself where a kernel of one sees each pixel once."""
        batch, channels, height, width = images.shape
        kernel_size = geometry["kernel_size"]
        if batch == 1 and _is_pointwise((0, 0, *kernel_size), geometry["stride"], geometry["padding"]):
            return images.reshape(groups, channels // groups, height * width)
        columns = scratch_array("columns", (channels, *kernel_size, batch, *output), images.dtype)
        self._im2col(images, out=columns, **geometry)
        return columns.reshape(groups, channels // groups * prod(kernel_size), batch * prod(output))


def _is_pointwise(weight_shape: Shape, stride: Shape, padding: Shape) -> bool:
    """A kernel of one that sees every pixel once, in place: its columns are the image."""
    return weight_shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0)
