"""Cases of kernels that work row by row: softmax, log-softmax, layer norm."""

from __future__ import annotations

from collections.abc import Iterator

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


def softmax() -> Iterator[Call]:
    for label, x in _logits():
        out = (x.shape,)
        # What a logit of 30 was rounded by comes back as a relative error of its exponential.
        yield Call(
            label=label, inputs=(x,), attrs={"axis": x.ndim - 1}, outputs=out, aliases={0: 0}, length=x.shape[-1] or 1
        )


def log_softmax() -> Iterator[Call]:
    for label, x in _logits():
        out = (x.shape,)
        yield Call(label=label, inputs=(x,), attrs={"axis": -1}, outputs=out, aliases={0: 0}, magnitude=30.0)


def _backward(is_log: bool) -> Iterator[Call]:
    for shape in _shapes():
        weights = np.abs(normal(1, *shape)) + 0.01
        y = weights / weights.sum(axis=-1, keepdims=True) if weights.size else weights
        yield Call(
            label=f"{shape}",
            inputs=(normal(2, *shape), np.log(y) if is_log else y),
            attrs={"axis": -1},
            outputs=(shape,),
            aliases={0: 1},
            length=max(shape[-1], 1),
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
    for rows in ROWS:
        for size in CLASSES:
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
