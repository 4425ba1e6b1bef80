"""Cases of softmax cross entropy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from helpers.kernel_cases.case import SIZES, Array, normal

from dtrain.kernels.call import Call

CLASSES = [size for size in SIZES if size > 0]


def _targets(rows: int, classes: int, dtype: str) -> Array:
    return np.random.default_rng(3).integers(0, classes, rows).astype(dtype)


def softmax_cross_entropy() -> Iterator[Call]:
    for classes in CLASSES:
        for rows in (0, 1, 5):
            for smoothing, dtype, scale in ((0.0, "int64", 1.0), (0.1, "int32", 20.0), (1.0, "int64", 5.0)):
                yield Call(
                    label=f"{rows} x {classes}, smoothing {smoothing}, {dtype}, scale {scale}",
                    inputs=(normal(1, rows, classes, scale=scale, offset=30.0), _targets(rows, classes, dtype)),
                    attrs={"label_smoothing": smoothing},
                    outputs=((rows,), (rows, classes)),
                    length=classes,
                    magnitude=scale,
                )
    yield _masked()


def softmax_cross_entropy_backward() -> Iterator[Call]:
    for classes in CLASSES:
        for rows, smoothing, dtype in ((0, 0.0, "int64"), (1, 0.0, "int32"), (5, 0.1, "int64")):
            weights = np.abs(normal(1, rows, classes))
            probabilities = weights / weights.sum(axis=1, keepdims=True)
            yield Call(
                label=f"{rows} x {classes}, smoothing {smoothing}, {dtype}",
                inputs=(normal(2, rows), probabilities, _targets(rows, classes, dtype)),
                attrs={"label_smoothing": smoothing},
                outputs=((rows, classes),),
                aliases={0: 1},
            )


def _masked() -> Call:
    """A class that nobody may choose: a logit of −∞, harmless without smoothing."""
    logits = normal(1, 4, 19)
    logits[:, 3] = -np.inf
    outputs = ((4,), (4, 19))
    targets = np.array([0, 1, 2, 4])
    return Call(label="masked", inputs=(logits, targets), attrs={"label_smoothing": 0.0}, outputs=outputs, length=19)


CASES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "softmax_cross_entropy_backward": softmax_cross_entropy_backward,
}
