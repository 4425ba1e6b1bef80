"""How the kernels of max pooling are started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from dtrain.kernels.array_module import Array
from dtrain.kernels.cuda.launch import BLOCK_SIZE, Functions, grid_for


def launch_max_pool2d(
    functions: Functions, inputs: Sequence[Array], out: Sequence[Array], attrs: Mapping[str, Any]
) -> None:
    """max_pool2d(x, out=(y, indices), *, kernel_size, stride, padding, dilation=(1, 1))."""
    (x,) = inputs
    y, indices = out
    if y.size:
        windows = (attrs["kernel_size"], attrs["stride"], attrs["padding"], attrs.get("dilation", (1, 1)))
        numbers = (prod(x.shape[:2]), *x.shape[2:], *y.shape[2:], *(number for pair in windows for number in pair))
        arguments = (x, y, indices, *(np.int64(number) for number in numbers))
        functions["max_pool2d"](grid_for(y.size), (BLOCK_SIZE,), arguments)


def launch_max_pool2d_backward(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """max_pool2d_backward(dy, indices, out=dx, *, input_shape)."""
    dy, indices = inputs
    if out.size:
        planes = prod(out.shape[:2])
        sizes = (np.int64(planes), np.int64(prod(dy.shape[2:])), np.int64(prod(out.shape[2:])))
        functions["max_pool2d_backward"](grid_for(planes, 1), (BLOCK_SIZE,), (dy, indices, out, *sizes))
