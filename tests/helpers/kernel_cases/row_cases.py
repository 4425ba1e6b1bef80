"""Cases of kernels that work row by row: softmax, log-softmax, layer norm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from helpers.kernel_cases.case import SIZES, Array, normal

from dtrain.kernels.call import Call

ROWS = (0, 1, 5)
CLASSES = [size for size in SIZES if size > 0]


def _shapes() -> Iterator[tuple[int, ...]]:
    yield from ((rows, size) for rows in ROWS for size in SIZES)
    yield (7,)
    yield (2, 3, 17)


def _logits() -> Iterator[tuple[str, Array]]:
    for shape in _shapes():
        yield f"{shape}", normal(1, *shape, scale=10.0, offset=30.0)
    masked = normal(1, 4, 19)
    masked[:, ::3] = -np.inf
    yield "masked", masked
    masked = masked.copy()
    masked[1, 4], masked[2, :] = np.nan, -np.inf
    yield "nan and all masked", masked


def _columns() -> Iterator[tuple[tuple[int, ...], int]]:
    """Shapes, and an axis that is not the last one: with a workspace of a column each."""
    yield from (((2, 5, size), 1) for size in SIZES)
    yield from [((4, 7), 0), ((2, 3, 2, 9), 1), ((3, 19, 1), -2), ((0, 3, 4), 1), ((3, 0, 4), 1)]


def _logits_in_columns() -> Iterator[tuple[str, Array, int]]:
    for shape, axis in _columns():
        yield f"{shape} along {axis}", normal(1, *shape, scale=10.0, offset=30.0), axis
    masked = normal(1, 4, 19)
    masked[::2, :7] = -np.inf
    masked[1, 4], masked[:, 17] = np.nan, -np.inf
    yield "columns with nan and all masked", masked, 0


def softmax() -> Iterator[Call]:
    for label, x in _logits():
        out = (x.shape,)
        # What a logit of 30 was rounded by comes back as a relative error of its exponential.
        yield Call(
            label=label, inputs=(x,), attrs={"axis": x.ndim - 1}, outputs=out, aliases={0: 0}, length=x.shape[-1] or 1
        )
    for label, x, axis in _logits_in_columns():
        length = max(x.shape[axis], 1)
        yield Call(label=label, inputs=(x,), attrs={"axis": axis}, outputs=(x.shape,), aliases={0: 0}, length=length)


def log_softmax() -> Iterator[Call]:
    for label, x in _logits():
        out = (x.shape,)
        yield Call(label=label, inputs=(x,), attrs={"axis": -1}, outputs=out, aliases={0: 0}, magnitude=30.0)
    for label, x, axis in _logits_in_columns():
        yield Call(label=label, inputs=(x,), attrs={"axis": axis}, outputs=(x.shape,), aliases={0: 0}, magnitude=30.0)


def _backward(is_log: bool) -> Iterator[Call]:
    for shape, axis in [*((shape, -1) for shape in _shapes()), *_columns()]:
        weights = np.abs(normal(1, *shape)) + 0.01
        y = weights / weights.sum(axis=axis, keepdims=True) if weights.size else weights
        yield Call(
            label=f"{shape} along {axis}",
            inputs=(normal(2, *shape), np.log(y) if is_log else y),
            attrs={"axis": axis},
            outputs=(shape,),
            aliases={0: 1},
            length=max(shape[axis], 1),
        )


def layer_norm() -> Iterator[Call]:
    for rows in ROWS:
        for size in CLASSES:
            shape = (rows, size)
            yield Call(
                label=f"{shape}",
                inputs=(normal(1, *shape, offset=3.0), normal(2, size), normal(3, size)),
                attrs={"eps": 1e-3},
                outputs=(shape, (rows,), (rows,)),
                aliases={0: 0},
                length=size,
                magnitude=16.0,
            )
    inputs = (normal(1, 2, 3, 4, 5), normal(2, 4, 5), normal(3, 4, 5))
    outputs = ((2, 3, 4, 5), (2, 3), (2, 3))
    yield Call(label="over two axes", inputs=inputs, attrs={"eps": 1e-3}, outputs=outputs, length=20, magnitude=16.0)


def layer_norm_backward() -> Iterator[Call]:
    # Rows of more than 64 are summed in groups, of which there are at most 16.
    many = [(65, 1), (128, 5), (129, 17), (1023, 3), (1100, 2)]
    for rows, size in (*product(ROWS, CLASSES), *many):
        shape, inverse_std = (rows, size), 0.5 + np.abs(normal(5, rows))
        yield Call(
            label=f"{shape}",
            inputs=(normal(1, *shape), normal(2, *shape), normal(4, rows), inverse_std, normal(3, size)),
            outputs=(shape, (size,), (size,)),
            length=max(size, rows),
            magnitude=32.0,
        )


CASES = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softmax_backward": lambda: _backward(False),
    "log_softmax_backward": lambda: _backward(True),
    "layer_norm": layer_norm,
    "layer_norm_backward": layer_norm_backward,
}
