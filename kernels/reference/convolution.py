"""2-D convolution and its two gradients, as a sum over kernel positions.

Shapes: x[N,C,H,W], w[O,C/G,KH,KW], y and dy[N,O,OH,OW]; G groups. Each kernel position contributes one small matrix
product between its weights and the strided window of the padded input that it sees.
"""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.registry import reference

Pair = tuple[int, int]
Shape4 = tuple[int, int, int, int]


def _positions(kernel: Pair, output: Pair, stride: Pair, dilation: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """Each kernel position with the rows and columns of the padded input that it sees."""
    for i in range(kernel[0]):
        top = i * dilation[0]
        rows = slice(top, top + stride[0] * (output[0] - 1) + 1, stride[0])
        for j in range(kernel[1]):
            left = j * dilation[1]
            yield i, j, rows, slice(left, left + stride[1] * (output[1] - 1) + 1, stride[1])


def _padded(x: Array, padding: Pair) -> Array:
    xp = array_module(x)
    return xp.pad(widen(x), ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])))


@reference("conv2d")
def conv2d(x: Array, w: Array, out: Array, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
    """y[n,o,h,w] = Σ_{c,i,j} w[o,c,i,j] · x[n, c, h·stride + i·dilation − padding, …], groups side by side."""
    xp = array_module(x)
    batch, channels = x.shape[:2]
    outputs, _, kernel_height, kernel_width = w.shape
    height, width = out.shape[2:]
    padded, weights = _padded(x, padding), widen(w)
    total = xp.zeros((batch, groups, outputs // groups, height * width), dtype=padded.dtype)
    for i, j, rows, columns in _positions((kernel_height, kernel_width), (height, width), stride, dilation):
        seen = padded[:, :, rows, columns].reshape(batch, groups, channels // groups, height * width)
        total += weights[:, :, i, j].reshape(groups, outputs // groups, channels // groups) @ seen
    store(out, total.reshape(out.shape))


@reference("conv2d_backward_data")
def conv2d_backward_data(
    dy: Array, w: Array, out: Array, *, input_shape: Shape4, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> None:
    """dx: each kernel position adds its transposed weights times dy to the window it saw."""
    xp = array_module(dy)
    batch, channels, input_height, input_width = input_shape
    outputs, _, kernel_height, kernel_width = w.shape
    height, width = dy.shape[2:]
    grad = widen(dy).reshape(batch, groups, outputs // groups, height * width)
    weights = widen(w)
    padded_shape = (batch, channels, input_height + 2 * padding[0], input_width + 2 * padding[1])
    total = xp.zeros(padded_shape, dtype=grad.dtype)
    for i, j, rows, columns in _positions((kernel_height, kernel_width), (height, width), stride, dilation):
        position = weights[:, :, i, j].reshape(groups, outputs // groups, channels // groups)
        contribution = position.transpose(0, 2, 1) @ grad
        total[:, :, rows, columns] += contribution.reshape(batch, channels, height, width)
    store(out, total[:, :, padding[0] : padding[0] + input_height, padding[1] : padding[1] + input_width])


@reference("conv2d_backward_weights")
def conv2d_backward_weights(
    dy: Array, x: Array, out: Array, *, weight_shape: Shape4, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> None:
    """dw[o,c,i,j] = Σ_{n,h,w} dy[n,o,h,w] · (the input that position i,j saw there)."""
    xp = array_module(dy)
    batch, channels = x.shape[:2]
    outputs, _, kernel_height, kernel_width = weight_shape
    height, width = dy.shape[2:]
    padded = _padded(x, padding)
    grad = widen(dy).reshape(batch, groups, outputs // groups, height * width)
    total = xp.zeros(weight_shape, dtype=accumulation_dtype(dy.dtype))
    for i, j, rows, columns in _positions((kernel_height, kernel_width), (height, width), stride, dilation):
        seen = padded[:, :, rows, columns].reshape(batch, groups, channels // groups, height * width)
        per_image = grad @ seen.transpose(0, 1, 3, 2)
        total[:, :, i, j] = per_image.sum(axis=0).reshape(outputs, channels // groups)
    store(out, total)


@reference("im2col")
def im2col(x: Array, out: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """columns[C,KH,KW,N,OH,OW]: for each kernel position, what it sees of x[N,C,H,W] from every output position."""
    output = (out.shape[4], out.shape[5])
    padded = _padded(x, padding)
    for i, j, rows, columns in _positions(kernel_size, output, stride, dilation):
        store(out[:, i, j], padded[:, :, rows, columns].swapaxes(0, 1))


@reference("col2im")
def col2im(columns: Array, out: Array, *, stride: Pair, padding: Pair, dilation: Pair) -> None:
    """dx[N,C,H,W]: the adjoint of `im2col`; every entry of columns[C,KH,KW,N,OH,OW] is added where it was seen."""
    xp = array_module(columns)
    batch, channels, height, width = out.shape
    kernel_size, output = (columns.shape[1], columns.shape[2]), (columns.shape[4], columns.shape[5])
    wide = widen(columns)
    total = xp.zeros((batch, channels, height + 2 * padding[0], width + 2 * padding[1]), dtype=wide.dtype)
    for i, j, rows, cols in _positions(kernel_size, output, stride, dilation):
        total[:, :, rows, cols] += wide[:, i, j].swapaxes(0, 1)
    store(out, total[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width])
